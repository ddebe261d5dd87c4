"""Where the clouds of a set lie and what is said of each: a folder, a CSV table, or one NumPy file of all."""

import csv
import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dimlift.data.clouds import READERS, Cloud, read_cloud
from dimlift.errors import DamagedFile, DataError


class Place(NamedTuple):
    """One cloud of a set.

    Attributes:
        file: the file, or `set.npz/3` for cloud 3 of a file of many.
        name: for messages and records.
        kind: name of its class; None where nobody says.
        group: clouds of one group belong together (a building, a patient); its own name where nobody says.
    """

    file: Path
    name: str
    kind: str | None
    group: str


def find_places(path: Path | str) -> list[Place]:
    """The clouds of a set; none is read, unless all lie in one file.

    Args:
        path: a folder (a folder in it for each class labels them), a CSV with the columns `cloud` and, if there are
            labels, `label`, and `group`; or an .npz with `points` (clouds, points, 3), or (points, 3) and `offsets`
            (clouds + 1), and with labels `labels` and `classes`.

    Raises:
        DataError: if there is no cloud, or some have no label.
        DamagedFile: if an .npz is cut short or not what its name says.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise DataError(f"there is nothing at {path}; give a folder of clouds, a CSV, or an .npz of many clouds")
    if path.suffix.lower() == ".csv":
        return _in_table(path)
    if path.suffix.lower() == ".npz":
        table = _arrays_of(path)
        kinds = [None] * len(table.clouds) if table.kinds is None else [table.classes[kind] for kind in table.kinds]
        names = [f"{path.stem}/{number}" for number in range(len(table.clouds))]
        return [Place(path / str(n), name, kinds[n], name) for n, name in enumerate(names)]
    raise DataError(f"{path} is one file, a set of clouds is wanted: a folder, a .csv or an .npz of many clouds")


def read_place(file: Path) -> Cloud:
    """The points of a file, or of one cloud in a file of many (`Place.file`).

    Raises:
        DataError: as `read_cloud` does.
    """
    if not is_member(file):
        return read_cloud(file)
    table, number = _arrays_of(file.parent), int(file.name)
    if not np.isfinite(table.clouds[number]).all():
        raise DataError(f"{file.parent}: cloud {number} has a coordinate that is NaN or infinite; take the point out")
    labels = None if table.labels is None else table.labels[number].astype(np.int64)
    return Cloud(table.clouds[number].astype(np.float64), labels=labels, path=file)


def is_member(file: Path) -> bool:
    """Whether a path names a cloud of a file of many."""
    return file.parent.suffix.lower() == ".npz" and file.parent.is_file()


def classes_of(path: Path) -> tuple[str, ...]:
    """Names of the classes an .npz of many clouds brings; none for anything else."""
    return _arrays_of(path).classes if path.suffix.lower() == ".npz" and path.is_file() else ()


def _in_folder(folder: Path) -> list[Place]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in READERS)
    if not files:
        raise DataError(f"{folder} holds no cloud; put {', '.join(READERS)} files there, one folder for each class")
    homes = [file.relative_to(folder).parts[:-1] for file in files]
    names = [str(file.relative_to(folder)) for file in files]
    labelled = all(homes)
    return [
        Place(file, name, home[0] if labelled else None, name)
        for file, name, home in zip(files, names, homes, strict=True)
    ]


def _in_table(path: Path) -> list[Place]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "cloud" not in rows[0]:
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise DataError(f"{path} has {found}; a column 'cloud' with files, beside 'label' if they are known, is wanted")
    labels = [(row.get("label") or "").strip() for row in rows]
    if any(labels) and not all(labels):
        raise DataError(f"{path}: row {labels.index('') + 2} has no label and others do; fill it in or take it out")
    return [
        Place(path.parent / row["cloud"], row["cloud"], label or None, (row.get("group") or "").strip() or row["cloud"])
        for row, label in zip(rows, labels, strict=True)
    ]


class _Arrays(NamedTuple):
    """An .npz of many clouds: their points, one class each (`kinds`) or one a point (`labels`)."""

    clouds: tuple[NDArray[Any], ...]
    classes: tuple[str, ...]
    kinds: tuple[int, ...] | None
    labels: tuple[NDArray[Any], ...] | None


def _arrays_of(path: Path) -> _Arrays:
    changed = path.stat()
    return _arrays(path, changed.st_mtime_ns, changed.st_size)


@lru_cache(maxsize=2)
def _arrays(path: Path, changed: int, size: int) -> _Arrays:
    """Read once, not once for each cloud in it."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            table = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as fault:
        raise DamagedFile(f"{path} cannot be read as an .npz of clouds ({fault}); copy it again") from fault
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
        return _Arrays(clouds, (), None, None)
    of_points = labels.shape == points.shape[:-1]
    if not (of_points or labels.shape == (len(clouds),)) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels {labels.shape} {labels.dtype} for {len(clouds)} clouds; give one integer each")
    classes = tuple(map(str, table.get("classes", np.arange(int(labels.max()) + 1))))
    if (labels.min() < 0 and not of_points) or labels.max() >= len(classes):
        raise DataError(f"{path}: labels {labels.min()} to {labels.max()} for {len(classes)} classes; correct one")
    if of_points:
        return _Arrays(clouds, classes, None, _cut(labels, offsets))
    return _Arrays(clouds, classes, tuple(labels.tolist()), None)


def _cut(array: NDArray[Any], offsets: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
    if offsets is None:
        return tuple(array)
    return tuple(array[a:b] for a, b in itertools.pairwise(offsets.tolist()))
