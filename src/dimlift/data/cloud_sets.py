"""Many clouds and what each one shows: a folder for each class, a CSV, or one NumPy file of all."""

import csv
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dimlift.data.clouds import READERS, read_cloud
from dimlift.errors import DamagedFile, DataError

Points = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CloudSet:
    """Clouds in memory.

    Attributes:
        clouds: (N, 3) each, in the unit of its file.
        names: of each cloud, for messages and records.
        classes: names of the classes; empty where nobody says what a cloud shows.
        labels: index into `classes` of each cloud; empty where there are none.
    """

    clouds: tuple[Points, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.clouds)

    def digests(self) -> list[str]:
        """SHA-256 of the points of each cloud."""
        return [hashlib.sha256(np.ascontiguousarray(cloud).tobytes()).hexdigest() for cloud in self.clouds]

    def some(self, index: Sequence[int]) -> "CloudSet":
        """Chosen clouds."""
        labels = tuple(self.labels[i] for i in index) if self.labels else ()
        return CloudSet(tuple(self.clouds[i] for i in index), tuple(self.names[i] for i in index), self.classes, labels)


def open_clouds(path: Path | str) -> CloudSet:
    """Read all clouds of a set into memory.

    Args:
        path: a folder (a folder in it for each class labels them), a CSV with the columns `cloud` and, if there are
            labels, `label`, or an .npz with `points` (clouds, points, 3), or (points, 3) and `offsets` (clouds + 1);
            and with labels `labels` and `classes`.

    Raises:
        DataError: if there is no cloud, some have no label, or a coordinate is NaN or infinite.
        DamagedFile: if a file is cut short or not what its name says.
    """
    path = Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise DataError(f"there is nothing at {path}; give a folder of clouds, a CSV, or an .npz of many clouds")
    if path.suffix.lower() == ".csv":
        return _from_table(path)
    if path.suffix.lower() == ".npz":
        return _from_arrays(path)
    raise DataError(f"{path} is one file, a set of clouds is wanted: a folder, a .csv or an .npz of many clouds")


def _from_folder(folder: Path) -> CloudSet:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in READERS)
    if not files:
        raise DataError(f"{folder} holds no cloud; put {', '.join(READERS)} files there, one folder for each class")
    homes = [file.relative_to(folder).parts[:-1] for file in files]
    names = tuple(str(file.relative_to(folder)) for file in files)
    clouds = tuple(read_cloud(file).points.astype(np.float32) for file in files)
    if not all(homes):
        return CloudSet(clouds, names)
    classes = tuple(sorted({home[0] for home in homes}))
    return CloudSet(clouds, names, classes, tuple(classes.index(home[0]) for home in homes))


def _from_table(path: Path) -> CloudSet:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "cloud" not in rows[0]:
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise DataError(f"{path} has {found}; a column 'cloud' with files, beside 'label' if they are known, is wanted")
    labels = [(row.get("label") or "").strip() for row in rows]
    if any(labels) and not all(labels):
        raise DataError(f"{path}: row {labels.index('') + 2} has no label and others do; fill it in or take it out")
    names = tuple(row["cloud"] for row in rows)
    clouds = tuple(read_cloud(path.parent / name).points.astype(np.float32) for name in names)
    classes = tuple(sorted(set(labels) - {""}))
    return CloudSet(clouds, names, classes, tuple(map(classes.index, labels)) if classes else ())


def _from_arrays(path: Path) -> CloudSet:
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
    if offsets is None:
        clouds = tuple(points.astype(np.float32))
    else:
        if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(points) or (np.diff(offsets) < 1).any():
            raise DamagedFile(f"{path}: offsets must rise from 0 to the {len(points)} points; write it again")
        clouds = tuple(points[a:b].astype(np.float32) for a, b in itertools.pairwise(offsets))
    for number, cloud in enumerate(clouds):
        if not np.isfinite(cloud).all():
            raise DataError(f"{path}: cloud {number} has a coordinate that is NaN or infinite; take the point out")
    names = tuple(f"{path.stem}/{number}" for number in range(len(clouds)))
    labels = table.get("labels")
    if labels is None:
        return CloudSet(clouds, names)
    if labels.shape != (len(clouds),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels {labels.shape} {labels.dtype} for {len(clouds)} clouds; give one integer each")
    classes = tuple(map(str, table.get("classes", np.arange(int(labels.max()) + 1))))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path}: labels {labels.min()} to {labels.max()} for {len(classes)} classes; correct one")
    return CloudSet(clouds, names, classes, tuple(labels.tolist()))
