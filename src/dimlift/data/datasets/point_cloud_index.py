"""Where the clouds of a set lie and what is said of each: a folder, a CSV table, a list, or one file of all."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dimlift.data.datasets.benchmark_lists import listed
from dimlift.data.datasets.point_cloud_arrays import SUFFIXES, is_member, read_arrays
from dimlift.data.io.point_cloud import LABELS_BESIDE, READERS, Cloud, read_cloud
from dimlift.data.io.readers import suffix_of
from dimlift.errors import DataError


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


def holds_clouds(path: Path) -> bool:
    """Whether a set is one of clouds, by its names alone: a folder of them without one volume, at any depth; a table
    with a column `cloud`; a list; one file of many. A .txt in a folder may be anything and says nothing.
    """
    if path.is_dir():
        suffixes = set()
        for file in path.rglob("*"):
            suffixes.add(file.suffix.lower())
            if suffix_of(file) or ".dcm" in suffixes:
                return False
        return not suffixes.isdisjoint(READERS.keys() - {".txt"})
    if path.suffix.lower() == ".csv" and path.is_file():
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            columns = next(csv.reader(stream), [])
        return "cloud" in columns
    return path.suffix.lower() in (*SUFFIXES, ".txt") and path.is_file()


def find_places(path: Path | str) -> list[Place]:
    """The clouds of a set; none is read, unless all lie in one file.

    Args:
        path: a folder (a folder in it for each class labels them); a CSV with the columns `cloud` and, if there are
            labels, `label`, and `group`; an .npz with `points` (clouds, points, 3), or (points, 3) and `offsets`
            (clouds + 1), and with labels `labels` and `classes`; an .h5 with `data` (clouds, points, 3) and `label`;
            or a list of a benchmark (`cloud_lists`).

    Raises:
        DataError: if there is no cloud, or some have no label.
        DamagedFile: if a file of many is cut short or not what its name says.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise DataError(f"there is nothing at {path}; give a folder of clouds, a CSV, a list, or an .npz or .h5")
    if path.suffix.lower() == ".csv":
        return _in_table(path)
    if path.suffix.lower() in SUFFIXES:
        return _in_arrays(path)
    if path.suffix.lower() == ".txt":
        return [place for file, kind in listed(path) for place in _named(path, file, kind)]
    raise DataError(
        f"{path} is one file, a set of clouds is wanted: a folder, a .csv, a list, or an .npz or .h5 of many"
    )


def read_place(file: Path) -> Cloud:
    """The points of a file, or of one cloud in a file of many (`Place.file`).

    Raises:
        DataError: as `read_cloud` does.
    """
    if not is_member(file):
        return read_cloud(file)
    table, number = read_arrays(file.parent), int(file.name)
    if not np.isfinite(table.clouds[number]).all():
        raise DataError(f"{file.parent}: cloud {number} has a coordinate that is NaN or infinite; take the point out")
    labels = None if table.labels is None else table.labels[number].astype(np.int64)
    return Cloud(table.clouds[number].astype(np.float64), labels=labels, path=file)


def classes_of(path: Path) -> tuple[str, ...]:
    """Names of the classes a file of many clouds brings; none for anything else."""
    return read_arrays(path).classes if path.suffix.lower() in SUFFIXES and path.is_file() else ()


def _in_arrays(path: Path) -> list[Place]:
    table = read_arrays(path)
    kinds = [None] * len(table.clouds) if table.kinds is None else [table.classes[kind] for kind in table.kinds]
    names = [f"{path.stem}/{number}" for number in range(len(table.clouds))]
    return [Place(path / str(n), name, kinds[n], name) for n, name in enumerate(names)]


def _named(path: Path, file: Path, kind: str | None) -> list[Place]:
    """A cloud of a list, or all clouds of a file it names."""
    if file.suffix.lower() in SUFFIXES:
        return _in_arrays(file)
    name = str(file.relative_to(path.parent)) if file.is_relative_to(path.parent) else file.name
    return [Place(file, name, kind, _group_of(name))]


def _group_of(name: str) -> str:
    """Scans of one room are numbered behind its name, scene0000_00 and scene0000_01, and belong together (ScanNet)."""
    room = re.search(r"(scene\d{4})_\d{2}", name)
    return name if room is None else room.group(1)


def _in_folder(folder: Path) -> list[Place]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in READERS and not file.name.lower().endswith(LABELS_BESIDE)
    )
    if not files:
        raise DataError(f"{folder} holds no cloud; put {', '.join(READERS)} files there, one folder for each class")
    homes = [file.relative_to(folder).parts[:-1] for file in files]
    names = [str(file.relative_to(folder)) for file in files]
    labelled = all(homes)
    return [
        Place(file, name, home[0] if labelled else None, _group_of(name))
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
