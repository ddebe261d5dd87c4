"""One file of many clouds: an .npz, or the .h5 in which ModelNet40 and ScanObjectNN are handed out.

h5py is imported here and nowhere else.
"""

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud import RATIO, SMALL_ENOUGH
from dimlift.errors import DamagedFile, DataError

SUFFIXES = (".npz", ".h5", ".hdf5")
NAMES = "shape_names.txt"
"""Beside an .h5: a class a line (ModelNet40)."""


class CloudArrays(NamedTuple):
    """Many clouds: their points, one class each (`kinds`) or one a point (`labels`)."""

    clouds: tuple[NDArray[Any], ...]
    classes: tuple[str, ...]
    kinds: tuple[int, ...] | None
    labels: tuple[NDArray[Any], ...] | None


def read_arrays(path: Path) -> CloudArrays:
    """The clouds of a file; read once, not once for each cloud in it.

    Raises:
        DataError: if it holds no clouds, or labels that do not fit them.
        DamagedFile: if it is cut short or not what its name says.
    """
    changed = path.stat()
    return _read(path, changed.st_mtime_ns, changed.st_size)


def is_member(file: Path) -> bool:
    """Whether a path names a cloud of a file of many: `set.npz/3`."""
    return file.parent.suffix.lower() in SUFFIXES and file.parent.is_file()


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> CloudArrays:
    table = _npz(path) if path.suffix.lower() == ".npz" else _h5(path, size)
    points, offsets = table.get("points"), table.get("offsets")
    if points is None or points.shape[-1:] != (3,) or points.ndim != (3 if offsets is None else 2):
        found = "no 'points'" if points is None else f"points {points.shape}"
        raise DataError(
            f"{path} holds {found}; wanted: points (clouds, points, 3), or (points, 3) with offsets (clouds + 1)"
        )
    if offsets is not None and (
        offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(points) or (np.diff(offsets) < 1).any()
    ):
        raise DamagedFile(f"{path}: offsets must rise from 0 to the {len(points)} points; write it again")
    clouds, labels = _cut(points, offsets), table.get("labels")
    if labels is None:
        return CloudArrays(clouds, (), None, None)
    of_points = labels.shape == points.shape[:-1]
    if not (of_points or labels.shape == (len(clouds),)) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels {labels.shape} {labels.dtype} for {len(clouds)} clouds; give one integer each")
    classes = tuple(map(str, table.get("classes", np.arange(int(labels.max()) + 1))))
    if (labels.min() < 0 and not of_points) or labels.max() >= len(classes):
        raise DataError(f"{path}: labels {labels.min()} to {labels.max()} for {len(classes)} classes; correct one")
    if of_points:
        return CloudArrays(clouds, classes, None, _cut(labels, offsets))
    return CloudArrays(clouds, classes, tuple(labels.tolist()), None)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as fault:
        raise DamagedFile(f"{path} cannot be read as an .npz of clouds ({fault}); copy it again") from fault


def _h5(path: Path, size: int) -> dict[str, NDArray[Any]]:
    """`data` (clouds, points, 3 or more) and `label`, (clouds,) or (clouds, 1); what else there is is not read."""
    try:
        import h5py
    except ModuleNotFoundError as fault:
        raise DataError(f"{path} is read with h5py: pip install 'dimlift[points]'") from fault
    try:
        with h5py.File(path, "r") as archive:
            chosen = {name: archive[name] for name in ("data", "label") if name in archive}
            if any(
                not isinstance(found, h5py.Dataset) or found.external or found.is_virtual for found in chosen.values()
            ):
                raise DataError(f"{path} keeps its numbers in other files; save it whole")
            stated = sum(found.size * found.dtype.itemsize for found in chosen.values())
            if stated > SMALL_ENOUGH + RATIO * size:
                raise DataError(f"{path} states {stated} bytes behind {size}; no set of clouds shrinks so much")
            table = {name: np.asarray(found[()]) for name, found in chosen.items()}
            held = ", ".join(archive)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as fault:
        if isinstance(fault, DataError):
            raise
        raise DamagedFile(f"{path} cannot be read as an .h5 of clouds ({fault}); copy it again") from fault
    if "data" not in table or table["data"].ndim != 3 or not np.issubdtype(table["data"].dtype, np.number):
        raise DataError(f"{path} holds {held or 'nothing'}; wanted: data (clouds, points, 3) and label (clouds)")
    found = {"points": table["data"][..., :3]}
    if "label" in table:
        label = table["label"]
        found["labels"] = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if (path.parent / NAMES).is_file():
        found["classes"] = np.array((path.parent / NAMES).read_text(encoding="utf-8").split())
    return found


def _cut(array: NDArray[Any], offsets: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
    if offsets is None:
        return tuple(array)
    return tuple(array[a:b] for a, b in itertools.pairwise(offsets.tolist()))
