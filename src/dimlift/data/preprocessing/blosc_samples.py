"""Cache of preprocessed samples on disk, so that the files of a case are read and preprocessed once."""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dimlift.data.case import Case, stored_files
from dimlift.data.preprocessing.blosc_array import BloscArray, write_blosc_array
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Geometry
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.errors import CorruptFileError
from dimlift.file_digest import file_sha256
from dimlift.records.atomic_write import atomic_write
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json

SCHEMA = 2
SAMPLE_NAME = "sample.json"
FOREGROUND_NAME = "foreground.safetensors"
SEAL = "sha256"
"""Entry of a sample's JSON: the digest of all others."""


@dataclass(frozen=True, eq=False)
class BloscSample:
    """A preprocessed case whose arrays are on disk; otherwise as `Sample`."""

    name: str
    image: BloscArray
    label: BloscArray | int | float | None
    geometry: Geometry
    minimum: NDArray[np.float32]
    present: NDArray[np.bool_]
    values: tuple[int | float, ...]
    foreground: dict[int, NDArray[np.int32]]
    facts: InputFacts | None = None

    @property
    def has_mask(self) -> bool:
        """Whether the label is a mask."""
        return isinstance(self.label, BloscArray)


def load_blosc_sample(preprocessing: Preprocessing, case: Case, cache_dir: Path) -> BloscSample:
    """Return a case from the cache; it is preprocessed and written first if it is not there.

    If a file or the preprocessing changes, the case gets a new entry; the old one stays until it is deleted. A damaged
    entry is written again, with a warning: now, or when a damaged block of it is read.

    Raises:
        CorruptFileError, DataError: if a file of the case cannot be used.
    """
    folder = cache_dir / f"{case.name}-{_cache_key(preprocessing, case)}"
    if not (folder / SAMPLE_NAME).is_file():
        _write_sample(preprocessing, case, folder)
    try:
        return _read_sample(preprocessing, case, folder)
    except CorruptFileError as fault:
        warnings.warn(f"{str(fault).partition('; ')[0]}; the case is preprocessed again", stacklevel=2)
        _write_sample(preprocessing, case, folder)
        return _read_sample(preprocessing, case, folder)


def _read_sample(preprocessing: Preprocessing, case: Case, folder: Path) -> BloscSample:
    try:
        content = read_json(folder / SAMPLE_NAME)
        if content.pop(SEAL) != _digest(content):
            raise CorruptFileError(f"{folder / SAMPLE_NAME} has changed since it was written; delete its folder")
        foreground = folder / FOREGROUND_NAME
        if file_sha256(foreground) != content["foreground_sha256"]:
            raise CorruptFileError(f"{foreground} has changed since it was written; delete its folder")
        affine = np.array(content["affine"], np.float64)
        label = content["label"]
        recreate = partial(_recreate, preprocessing, case, folder)
        if isinstance(label, dict):
            label = BloscArray.from_json(folder / "label.blocks", label, partial(recreate, "label"))
        return BloscSample(
            case.name,
            BloscArray.from_json(folder / "image.blocks", content["image"], partial(recreate, "image")),
            label,
            preprocessing.geometry(tuple(content["file_shape"]), affine, None, case.images[0]),
            np.array(content["minimum"], np.float32),
            np.array(content["present"], np.bool_),
            tuple(content["values"]),
            {int(value): voxels for value, voxels in load_file(foreground).items()},
            None if content["facts"] is None else InputFacts.from_json(content["facts"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as fault:
        if isinstance(fault, CorruptFileError):
            raise
        raise CorruptFileError(f"{folder} is corrupt ({fault}); delete it, it will be recreated") from fault


def _write_sample(preprocessing: Preprocessing, case: Case, folder: Path) -> dict[str, BloscArray]:
    """Preprocess and write a case; return its arrays."""
    sample = preprocessing.read(case)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"image": write_blosc_array(sample.image, folder / "image.blocks")}
    label: Any = sample.label
    if isinstance(sample.label, np.ndarray):
        arrays["label"] = write_blosc_array(sample.label[None], folder / "label.blocks")
        label = arrays["label"].to_json()
    with atomic_write(folder / FOREGROUND_NAME) as scratch:
        save_file({str(value): voxels for value, voxels in sample.foreground.items()}, scratch)
    geometry = sample.geometry
    file_shape = geometry.reorientation.inverse(np.broadcast_to(np.False_, geometry.reoriented_shape)).shape
    content = {
        "schema": SCHEMA,
        "image": arrays["image"].to_json(),
        "label": label,
        "foreground_sha256": file_sha256(folder / FOREGROUND_NAME),
        "affine": geometry.affine.tolist(),
        "file_shape": list(file_shape),
        "minimum": sample.minimum.tolist(),
        "present": sample.present.tolist(),
        "values": list(sample.values),
        "facts": None if sample.facts is None else asdict(sample.facts),
    }
    # last: its existence marks the entry as complete
    write_json(folder / SAMPLE_NAME, {**content, SEAL: _digest(content)})
    return arrays


def _recreate(preprocessing: Preprocessing, case: Case, folder: Path, kind: str) -> BloscArray:
    """Write a case again after a block of it was found damaged, and return one of its arrays."""
    return _write_sample(preprocessing, case, folder)[kind]


def _digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the entries of a sample's JSON, which hold the digests of its other files."""
    plain = json.loads(json.dumps(content))  # tuples become lists, as in the file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _cache_key(preprocessing: Preprocessing, case: Case) -> str:
    """Return a key that depends on the preprocessing and on path, size and time of the files."""
    rules = {name: value for name, value in preprocessing.to_json().items() if name != "typical_spacing"}
    files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
    stats = []
    for file in files:
        stats += [
            (str(f), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else (str(f), -1, -1)
            for f in stored_files(file)
        ]
    label = None if isinstance(case.label, Path) else case.label
    content = [SCHEMA, rules, stats, label]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
