"""Index of a point cloud dataset: the files of a folder, a CSV table, a benchmark list, or one file of many."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dimlift.data.datasets.benchmark_lists import read_benchmark_list
from dimlift.data.datasets.csv_rows import resolve_cell
from dimlift.data.datasets.point_cloud_arrays import ARRAY_SUFFIXES, is_array_member, read_point_cloud_arrays
from dimlift.data.io.point_cloud import LABEL_FILE_SUFFIX, POINT_CLOUD_READERS, PointCloud, read_point_cloud
from dimlift.data.io.point_cloud_columns import table_columns
from dimlift.data.io.readers import volume_suffix
from dimlift.errors import DataError

MODELNET_COLUMNS = ("x", "y", "z", "nx", "ny", "nz")
"""Columns of the text files that ModelNet40's lists name (modelnet40_normal_resampled)."""
_MAX_HEADER = 1 << 16
"""Characters of the header of a table."""


class PointCloudEntry(NamedTuple):
    """One point cloud of a dataset.

    Attributes:
        file: the file, or `set.npz/3` for point cloud 3 in a file of many.
        name: for messages and records.
        class_name: its class, or None.
        group: point clouds of one group (a building, a patient) stay together; its own name without groups.
        columns: names of the columns of files that do not name them (`point_clouds.columns`).
    """

    file: Path
    name: str
    class_name: str | None
    group: str
    columns: tuple[str, ...] = ()


def is_point_cloud_dataset(path: Path) -> bool:
    """Return whether names alone show a point cloud dataset; no file but the header of a table is read.

    That is a folder with point clouds and without a single volume, at any depth (.txt files do not count, because they
    may hold anything); a table with a column `cloud`; a benchmark list; a file of many point clouds.
    """
    if path.is_dir():
        suffixes = set()
        for file in path.rglob("*"):
            if file.name.startswith("."):  # such as the ._ files of macOS
                continue
            suffixes.add(file.suffix.lower())
            if volume_suffix(file) or ".dcm" in suffixes:
                return False
        return not suffixes.isdisjoint(POINT_CLOUD_READERS.keys() - {".txt"})
    if path.suffix.lower() == ".csv" and path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            header = stream.readline(_MAX_HEADER)
        return "cloud" in {name.strip('"') for name in header.strip().split(",")}
    return path.suffix.lower() in (*ARRAY_SUFFIXES, ".txt") and path.is_file()


def index_point_clouds(path: Path | str, columns: Sequence[str] = ()) -> list[PointCloudEntry]:
    """List the point clouds of a dataset; no point is read, except from a file of many.

    Args:
        path: a folder (one subfolder per class labels them); a CSV with the columns `cloud` and optionally `label` and
            `group`; an .npz with `points` (clouds, points, 3), or (points, 3) and `offsets` (clouds + 1), and
            optionally `labels` and `classes`; an .h5 with `data` (clouds, points, 3) and `label`; or a benchmark list
            (`benchmark_lists`).
        columns: names of the columns of files that do not name them; ModelNet40's lists state those of its text files.

    Raises:
        DataError: if there is no point cloud, or only some have labels.
        CorruptFileError: if a file of many is truncated or of another format than its suffix states.
    """
    entries = _index(Path(path))
    return [entry._replace(columns=tuple(columns)) for entry in entries] if columns else entries


def _index(path: Path) -> list[PointCloudEntry]:
    if path.is_dir():
        return _index_folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; pass a folder of point clouds, a CSV, a list, or an .npz or .h5")
    if path.suffix.lower() == ".csv":
        return _index_table(path)
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _index_arrays(path)
    if path.suffix.lower() == ".txt":
        entries = read_benchmark_list(path)
        return [entry for file, class_name in entries for entry in _index_listed_file(path, file, class_name)]
    raise DataError(
        f"{path} is one file; a dataset of point clouds is expected: a folder, a .csv, a list, or an .npz or .h5"
    )


def load_entry(file: Path, columns: Sequence[str] = ()) -> PointCloud:
    """Read a file, or one point cloud in a file of many (`PointCloudEntry.file`).

    Args:
        file: the file.
        columns: names of the columns of files that do not name them.

    Raises:
        DataError: as `read_point_cloud`.
    """
    if not is_array_member(file):
        return read_point_cloud(file, columns)
    arrays, number = read_point_cloud_arrays(file.parent), int(file.name)
    cloud = table_columns(arrays.points[number], file.parent, columns)
    if not np.isfinite(cloud.points).all():
        raise DataError(
            f"{file.parent}: point cloud {number} has a coordinate that is NaN or infinite; remove the point"
        )
    labels = cloud.labels if arrays.point_labels is None else arrays.point_labels[number].astype(np.int64)
    return replace(cloud, labels=labels, path=file)


def load_usable_entry(entry: PointCloudEntry) -> PointCloud:
    """Read a point cloud that a network can use without labels.

    Raises:
        DataError: as `load_entry`, or if all points are at one place.
    """
    cloud = load_entry(entry.file, entry.columns)
    if not np.ptp(cloud.points, axis=0).any():
        raise DataError(f"{entry.file} has all {len(cloud.points)} points at one place; export it again, or remove it")
    return cloud


def array_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a file of many point clouds; empty for anything else."""
    return read_point_cloud_arrays(path).classes if path.suffix.lower() in ARRAY_SUFFIXES and path.is_file() else ()


def _index_arrays(path: Path) -> list[PointCloudEntry]:
    arrays = read_point_cloud_arrays(path)
    count = len(arrays.points)
    classes = [None] * count if arrays.labels is None else [arrays.classes[label] for label in arrays.labels]
    names = [f"{path.stem}/{number}" for number in range(count)]
    return [PointCloudEntry(path / str(n), name, classes[n], name) for n, name in enumerate(names)]


def _index_listed_file(path: Path, file: Path, class_name: str | None) -> list[PointCloudEntry]:
    """Return a point cloud of a list, or all point clouds of a file in it."""
    if file.suffix.lower() in ARRAY_SUFFIXES:
        return _index_arrays(file)
    name = str(file.relative_to(path.parent)) if file.is_relative_to(path.parent) else file.name
    is_modelnet = path.name.casefold().startswith("modelnet") and file.suffix.lower() == ".txt"
    return [PointCloudEntry(file, name, class_name, _group_of(name), MODELNET_COLUMNS if is_modelnet else ())]


def _group_of(name: str) -> str:
    """Return the room of a ScanNet scan (scene0000_00 and scene0000_01 are one room), else the name."""
    room = re.search(r"(scene\d{4})_\d{2}", name)
    return name if room is None else room.group(1)


def _index_folder(folder: Path) -> list[PointCloudEntry]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in POINT_CLOUD_READERS
        and not file.name.startswith(".")
        and not file.name.lower().endswith(LABEL_FILE_SUFFIX)
    )
    if not files:
        raise DataError(
            f"{folder} holds no point cloud; put {', '.join(POINT_CLOUD_READERS)} files there, one folder per class"
        )
    parents = [file.relative_to(folder).parts[:-1] for file in files]
    names = [str(file.relative_to(folder)) for file in files]
    labelled = all(parents)
    return [
        PointCloudEntry(file, name, parent[0] if labelled else None, _group_of(name))
        for file, name, parent in zip(files, names, parents, strict=True)
    ]


def _index_table(path: Path) -> list[PointCloudEntry]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(stream)]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise DataError(
            f"{path} is not a CSV table in UTF-8 ({fault}); export it as CSV, UTF-8, with commas"
        ) from fault
    if not rows or "cloud" not in rows[0]:
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise DataError(f"{path} has {found}; a column 'cloud' with files, and optionally 'label', is expected")
    labels = [row.get("label", "").strip() for row in rows]
    if any(labels) and not all(labels):
        raise DataError(f"{path}: row {labels.index('') + 2} has no label, but others do; fill it in or remove the row")
    entries: list[PointCloudEntry] = []
    for row, label in zip(rows, labels, strict=True):
        name, group = row["cloud"], row.get("group", "").strip()
        file = resolve_cell(path, name, path.parent)
        if file.suffix.lower() not in POINT_CLOUD_READERS and not is_array_member(file):
            raise DataError(
                f"{path} names {name[:100]!r} in the column 'cloud' of row {len(entries) + 2}; expected is a file that "
                f"ends in {', '.join(POINT_CLOUD_READERS)}"
            )
        entries.append(PointCloudEntry(file, name, label or None, group or name))
    return entries
