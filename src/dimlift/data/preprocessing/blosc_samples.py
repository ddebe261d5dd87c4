"""Cache of preprocessed samples on disk, so that the files of a case are read and preprocessed once."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dimlift.data.case import Case
from dimlift.data.preprocessing.blosc_array import BloscArray, write_blosc_array
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Geometry
from dimlift.errors import CorruptFileError
from dimlift.records.atomic_write import atomic_write
from dimlift.records.record import write_json

SCHEMA = 1


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

    @property
    def has_mask(self) -> bool:
        """Whether the label is a mask."""
        return isinstance(self.label, BloscArray)


def load_blosc_sample(preprocessing: Preprocessing, case: Case, cache_dir: Path) -> BloscSample:
    """Return a case from the cache; it is preprocessed and written first if it is not there.

    If a file or the preprocessing changes, the case gets a new entry; the old one stays until it is deleted.

    Raises:
        CorruptFileError, DataError: if a file of the case or of the cache cannot be used.
    """
    folder = cache_dir / f"{case.name}-{_cache_key(preprocessing, case)}"
    if not (folder / "sample.json").is_file():
        _write_sample(preprocessing, case, folder)
    try:
        content = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        affine = np.array(content["affine"], np.float64)
        label = content["label"]
        if isinstance(label, dict):
            label = BloscArray.from_json(folder / "label.blocks", label)
        return BloscSample(
            case.name,
            BloscArray.from_json(folder / "image.blocks", content["image"]),
            label,
            preprocessing.geometry(tuple(content["file_shape"]), affine, None, case.images[0]),
            np.array(content["minimum"], np.float32),
            np.array(content["present"], np.bool_),
            tuple(content["values"]),
            {int(value): voxels for value, voxels in load_file(folder / "foreground.safetensors").items()},
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
        if isinstance(fault, CorruptFileError):
            raise
        raise CorruptFileError(f"{folder} is corrupt ({fault}); delete it, it will be recreated") from fault


def _write_sample(preprocessing: Preprocessing, case: Case, folder: Path) -> None:
    sample = preprocessing.read(case)
    folder.mkdir(parents=True, exist_ok=True)
    label: Any = sample.label
    if isinstance(sample.label, np.ndarray):
        label = write_blosc_array(sample.label[None], folder / "label.blocks").to_json()
    with atomic_write(folder / "foreground.safetensors") as scratch:
        save_file({str(value): voxels for value, voxels in sample.foreground.items()}, scratch)
    geometry = sample.geometry
    file_shape = geometry.reorientation.inverse(np.broadcast_to(np.False_, geometry.reoriented_shape)).shape
    content = {
        "schema": SCHEMA,
        "image": write_blosc_array(sample.image, folder / "image.blocks").to_json(),
        "label": label,
        "affine": geometry.affine.tolist(),
        "file_shape": list(file_shape),
        "minimum": sample.minimum.tolist(),
        "present": sample.present.tolist(),
        "values": list(sample.values),
    }
    write_json(folder / "sample.json", content)  # last: its existence marks the entry as complete


def _cache_key(preprocessing: Preprocessing, case: Case) -> str:
    """Return a key that depends on the preprocessing and on path, size and time of the files."""
    rules = {name: value for name, value in preprocessing.to_json().items() if name != "typical_spacing"}
    files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
    stats = []
    for file in files:
        inside = sorted(file.iterdir()) if file.is_dir() else [file]
        stats += [(str(f), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else (str(f), -1, -1) for f in inside]
    label = None if isinstance(case.label, Path) else case.label
    content = [SCHEMA, rules, stats, label]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
