"""Files of many point clouds: .npz, or the .h5 files of ModelNet40 and ScanObjectNN. h5py is imported only here."""

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud_numpy import ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO
from dimlift.data.label_values import to_label_values
from dimlift.errors import CorruptFileError, DataError

ARRAY_SUFFIXES = (".npz", ".h5", ".hdf5")
CLASS_NAMES_FILE = "shape_names.txt"
"""Class names next to an .h5 file, one per line (ModelNet40)."""


class PointCloudArrays(NamedTuple):
    """Point clouds of one file.

    Attributes:
        points: (N, 3) of each point cloud, or (N, k) with columns that the file does not name.
        classes: class names; empty without labels.
        labels: index into `classes` of each point cloud, or None.
        point_labels: label of every point of each point cloud, or None.
    """

    points: tuple[NDArray[Any], ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...] | None
    point_labels: tuple[NDArray[Any], ...] | None


def read_point_cloud_arrays(path: Path) -> PointCloudArrays:
    """Return the point clouds of a file; cached, so that reading each of them does not read the file again.

    Raises:
        DataError: if the file holds no point clouds, or labels of another shape.
        CorruptFileError: if the file is truncated or of another format than its suffix states.
    """
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


def is_array_member(file: Path) -> bool:
    """Return whether a path is one point cloud in a file of many: `set.npz/3`."""
    return file.parent.suffix.lower() in ARRAY_SUFFIXES and file.parent.is_file()


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> PointCloudArrays:
    table = _read_npz(path) if path.suffix.lower() == ".npz" else _read_h5(path, size)
    points, offsets = table.get("points"), table.get("offsets")
    if (
        points is None
        or points.ndim != (3 if offsets is None else 2)
        or points.shape[-1] < 3
        or points.dtype.kind not in "iuf"
    ):
        found = "no 'points'" if points is None else f"points {points.shape} {points.dtype}"
        raise DataError(
            f"{path} holds {found}; expected: points (clouds, points, 3), or (points, 3) with offsets (clouds + 1)"
        )
    if offsets is not None and (
        offsets.ndim != 1
        or offsets.dtype.kind not in "iu"
        or len(offsets) < 2
        or offsets[0] != 0
        or offsets[-1] != len(points)
        or (np.diff(offsets) < 1).any()
    ):
        raise CorruptFileError(f"{path}: offsets must increase from 0 to the {len(points)} points; write it again")
    clouds, labels = _split(points, offsets), table.get("labels")
    if labels is None:
        return PointCloudArrays(clouds, (), None, None)
    per_point = labels.shape == points.shape[:-1]
    labels = to_label_values(labels, path, points.shape[:-1] if per_point else (len(clouds),))
    classes = tuple(map(str, table.get("classes", np.arange(int(labels.max()) + 1))))
    if (labels.min() < 0 and not per_point) or labels.max() >= len(classes):
        raise DataError(f"{path}: labels {labels.min()} to {labels.max()} for {len(classes)} classes; correct one")
    if per_point:
        return PointCloudArrays(clouds, classes, None, _split(labels, offsets))
    return PointCloudArrays(clouds, classes, tuple(labels.tolist()), None)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as fault:
        raise CorruptFileError(f"{path} cannot be read as an .npz of point clouds ({fault}); copy it again") from fault


def _read_h5(path: Path, size: int) -> dict[str, NDArray[Any]]:
    """Return `data` (clouds, points, 3 or more) and `label`, (clouds,) or (clouds, 1); nothing else is read."""
    try:
        import h5py
    except ModuleNotFoundError as fault:
        raise DataError(f"{path} is read with h5py: pip install 'dimlift[points]'") from fault
    try:
        with h5py.File(path, "r") as archive:
            chosen = {name: archive[name] for name in ("data", "label") if name in archive}
            if any(not isinstance(d, h5py.Dataset) or d.external or d.is_virtual for d in chosen.values()):
                raise DataError(f"{path} stores its numbers in other files; save it as one file")
            stated = sum(dataset.size * dataset.dtype.itemsize for dataset in chosen.values())
            if stated > ALWAYS_ALLOWED_BYTES + MAX_COMPRESSION_RATIO * size:
                raise DataError(
                    f"{path} has {size} bytes and states {stated} bytes of data, which is not plausible; copy it again"
                )
            table = {name: np.asarray(dataset[()]) for name, dataset in chosen.items()}
            names = ", ".join(archive)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as fault:
        if isinstance(fault, DataError):
            raise
        raise CorruptFileError(f"{path} cannot be read as an .h5 of point clouds ({fault}); copy it again") from fault
    if "data" not in table or table["data"].ndim != 3 or not np.issubdtype(table["data"].dtype, np.number):
        raise DataError(f"{path} holds {names or 'nothing'}; expected: data (clouds, points, 3) and label (clouds)")
    arrays = {"points": table["data"]}
    if "label" in table:
        label = table["label"]
        arrays["labels"] = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if (path.parent / CLASS_NAMES_FILE).is_file():
        arrays["classes"] = np.array((path.parent / CLASS_NAMES_FILE).read_text(encoding="utf-8").split())
    return arrays


def _split(array: NDArray[Any], offsets: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
    if offsets is None:
        return tuple(array)
    return tuple(array[a:b] for a, b in itertools.pairwise(offsets.tolist()))
