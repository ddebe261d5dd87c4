"""Preprocessed cases packed on disk once, and opened again without reading their files."""

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
from dimlift.data.preprocessing.blosc_array import PackedArray, pack
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Geometry
from dimlift.errors import DamagedFile
from dimlift.records.atomic_write import written_whole
from dimlift.records.record import write_json

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class PackedSample:
    """A preprocessed case whose arrays stay on disk; everything else is as in `Sample`."""

    name: str
    image: PackedArray
    label: PackedArray | int | float | None
    geometry: Geometry
    minimum: NDArray[np.float32]
    present: NDArray[np.bool_]
    values: tuple[int | float, ...]
    foreground: dict[int, NDArray[np.int32]]

    @property
    def has_mask(self) -> bool:
        """Whether every voxel has a label of its own."""
        return isinstance(self.label, PackedArray)


def packed(preprocessing: Preprocessing, case: Case, folder: Path) -> PackedSample:
    """A case from its packed form, which is made first where it is missing.

    A changed file or preprocessing is another packed case; the old one stays until its folder is deleted.

    Raises:
        DamagedFile, DataError: naming the file, what was found, and the way out.
    """
    place = folder / f"{case.name}-{_key(preprocessing, case)}"
    if not (place / "sample.json").is_file():
        _make(preprocessing, case, place)
    try:
        known = json.loads((place / "sample.json").read_text(encoding="utf-8"))
        affine = np.array(known["affine"], np.float64)
        label = known["label"]
        if isinstance(label, dict):
            label = PackedArray.from_json(place / "label.blocks", label)
        return PackedSample(
            case.name,
            PackedArray.from_json(place / "image.blocks", known["image"]),
            label,
            preprocessing.geometry(tuple(known["file_shape"]), affine, None, case.images[0]),
            np.array(known["minimum"], np.float32),
            np.array(known["present"], np.bool_),
            tuple(known["values"]),
            {int(value): voxels for value, voxels in load_file(place / "foreground.safetensors").items()},
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
        if isinstance(fault, DamagedFile):
            raise
        raise DamagedFile(f"{place} is damaged ({fault}); delete it, it is made anew") from fault


def _make(preprocessing: Preprocessing, case: Case, place: Path) -> None:
    sample = preprocessing.read(case)
    place.mkdir(parents=True, exist_ok=True)
    label: Any = sample.label
    if isinstance(sample.label, np.ndarray):
        label = pack(sample.label[None], place / "label.blocks").to_json()
    with written_whole(place / "foreground.safetensors") as scratch:
        save_file({str(value): voxels for value, voxels in sample.foreground.items()}, scratch)
    turned = sample.geometry.turn.backward(np.broadcast_to(np.False_, sample.geometry.turned_shape)).shape
    known = {
        "schema": SCHEMA,
        "image": pack(sample.image, place / "image.blocks").to_json(),
        "label": label,
        "affine": sample.geometry.affine.tolist(),
        "file_shape": list(turned),
        "minimum": sample.minimum.tolist(),
        "present": sample.present.tolist(),
        "values": list(sample.values),
    }
    write_json(place / "sample.json", known)  # last: a packed case exists once this does


def _key(preprocessing: Preprocessing, case: Case) -> str:
    """Other files, or another way to read them, give another key; dates and sizes stand for the files' content."""
    rules = {name: value for name, value in preprocessing.to_json().items() if name != "typical_spacing"}
    files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
    seen = []
    for file in files:
        inside = sorted(file.iterdir()) if file.is_dir() else [file]
        seen += [(str(f), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else (str(f), -1, -1) for f in inside]
    answer = None if isinstance(case.label, Path) else case.label
    content = [SCHEMA, rules, seen, answer]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
