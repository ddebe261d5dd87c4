"""Point cloud datasets: one class per point cloud, or one per point."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import DATASET_JSON, read_dataset_json
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.point_cloud_arrays import is_array_member
from dimlift.data.datasets.point_cloud_index import (
    PointCloudEntry,
    array_class_names,
    index_point_clouds,
    is_point_cloud_dataset,
    load_entry,
    load_usable_entry,
)
from dimlift.data.datasets.point_cloud_set import points_hash
from dimlift.data.issue import Issue
from dimlift.errors import DataError, UnknownNameError

POINT_CLOUD_TASKS = ("segmentation", "classification")
IGNORE_OTHERS = -1
"""`Dataset.ignore` of datasets where every value that is not named is ignored; negative labels are always ignored."""


def _read(path: Path, task: TaskType | None = None, skip_corrupt: bool = False, columns: Sequence[str] = ()) -> Dataset:
    """Return the point clouds of a dataset as cases.

    Labels of points are a column of each point cloud (`label` in .ply and .pcd, `labels` in .npz, the classification in
    .las). A dataset.json {"labels": {name: value}} in the folder, or next to the table, names them; "ignore" is the
    value of unlabelled points, or "others" for every value that is not named. Without it every value is a class, and
    negative ones are ignored.

    Args:
        path: see `index_point_clouds`.
        task: "classification", "segmentation", or None to infer it.
        skip_corrupt: leave out point clouds that cannot be read.
        columns: names of the columns of files that do not name them.

    Raises:
        UnknownNameError: for another task.
        DataError: if there are no labels for the task.
    """
    task = task or infer_task(path, columns)
    if task not in POINT_CLOUD_TASKS:
        raise UnknownNameError("task of point clouds", task, POINT_CLOUD_TASKS)
    entries, skipped = readable_entries(path, skip_corrupt, columns)
    ignore: int | None = None
    if task == "segmentation":
        labels, ignore = _point_labels(path, entries)
        cases = [
            Case(case_name(entry.name), (entry.file,), entry.file, entry.group, entry.columns) for entry in entries
        ]
    else:
        labels = _cloud_labels(path, entries)
        cases = [
            Case(case_name(entry.name), (entry.file,), labels[str(entry.class_name)], entry.group, entry.columns)
            for entry in entries
        ]
    dataset = Dataset(
        path.stem,
        path if path.is_dir() else path.parent,
        tuple(cases),
        ("points",),
        labels,
        task,
        ignore,
        skipped=tuple(skipped),
        modality="point_clouds",
    )
    if any(is_array_member(entry.file) for entry in entries):  # `manifest_hash` cannot read members of a file
        return dataset.with_manifest(_array_manifest(dataset))
    return dataset


def readable_entries(
    path: Path | str, skip_corrupt: bool, columns: Sequence[str] = ()
) -> tuple[list[PointCloudEntry], list[str]]:
    """Return the point clouds of a dataset, and one message for each that was left out.

    Args:
        path: see `index_point_clouds`.
        skip_corrupt: read all point clouds and leave out those that cannot be read.
        columns: names of the columns of files that do not name them.

    Raises:
        DataError: if there is no point cloud, or none can be read.
    """
    entries = index_point_clouds(path, columns)
    if not skip_corrupt:
        return entries, []
    readable: list[PointCloudEntry] = []
    skipped: list[str] = []
    for entry in entries:
        try:
            load_usable_entry(entry)
            readable.append(entry)
        except DataError as fault:
            skipped.append(str(fault))
    if not readable:
        raise DataError(f"no point cloud of {path} can be read: {skipped[0]}")
    return readable, skipped


def infer_task(path: Path | str, columns: Sequence[str] = ()) -> TaskType:
    """Return segmentation if the points of the first point cloud have several labels, else classification.

    Raises:
        DataError: if there is no point cloud, or the first cannot be read.
    """
    first = index_point_clouds(path, columns)[0]
    labels = load_entry(first.file, first.columns).labels
    return "segmentation" if labels is not None and len(np.unique(labels[labels >= 0])) > 1 else "classification"


def case_name(name: str) -> str:
    """Return a name without folders and suffix, valid as the file name of predictions."""
    return str(Path(name).with_suffix("")).replace("/", "_").replace("\\", "_")


def _cloud_labels(path: Path, entries: Sequence[PointCloudEntry]) -> dict[str, int]:
    classes = sorted({entry.class_name for entry in entries if entry.class_name is not None})
    if len(classes) < 2:
        found = "have no labels" if not classes else f"are all of the class {classes[0]!r}"
        raise DataError(
            f"the point clouds of {path} {found}; use one folder per class, a CSV with a column 'label', or "
            "task=segmentation if every point has a label"
        )
    return {name: index for index, name in enumerate(array_class_names(path) or classes)}


def _point_labels(path: Path, entries: Sequence[PointCloudEntry]) -> tuple[dict[str, int], int | None]:
    folder = path if path.is_dir() else path.parent
    if named := array_class_names(path):
        return {name: index for index, name in enumerate(named)}, None
    if (folder / DATASET_JSON).is_file():
        return _named_labels(folder)
    values: set[int] = set()
    for entry in entries:
        labels = load_entry(entry.file, entry.columns).labels
        values.update(() if labels is None else np.unique(labels).tolist())
    if len(kept := sorted(value for value in values if value >= 0)) < 2:
        found = "no labels" if not kept else f"the label {kept[0]} only"
        raise DataError(
            f"the points of {path} have {found}; expected: a column 'label' (.ply, .pcd), an array 'labels' (.npz) or "
            "the classification of a .las, or task=classification if each point cloud has one class"
        )
    return {str(value): value for value in kept}, None


def _named_labels(folder: Path) -> tuple[dict[str, int], int | None]:
    raw: Any = read_dataset_json(folder).get("labels")
    if isinstance(raw, dict) and raw.get("ignore") == "others":
        raw = {**raw, "ignore": IGNORE_OTHERS}
    valid = isinstance(raw, dict) and all(type(value) is int for value in raw.values())
    if not valid or len(set(raw.values())) < len(raw) or len(raw) - ("ignore" in raw) < 2:
        message = 'has no "labels" with a different integer for each of two or more classes'
        fix = 'write, for example, "labels": {"floor": 0, "wall": 1, "ignore": 255}'
        raise Issue(str(folder / DATASET_JSON), "error", message, fix).as_error()
    labels = dict(raw)
    ignore = labels.pop("ignore", None)
    return labels, ignore


def _array_manifest(dataset: Dataset) -> str:
    """Return the hash of names, points and labels of point clouds in files of many."""
    content = [
        (case.name, points_hash(load_entry(case.images[0], case.columns).points), _label_hash(case))
        for case in dataset.cases
    ]
    encoded = json.dumps([content, dataset.labels, dataset.task]).encode()
    return points_hash(np.frombuffer(encoded, np.uint8))


def _label_hash(case: Case) -> Any:
    if not isinstance(case.label, Path):
        return case.label
    labels = load_entry(case.label, case.columns).labels
    return None if labels is None else points_hash(labels)


POINT_CLOUDS = Layout(
    "point_clouds",
    "point clouds (one folder per class, chair/1.ply; files with a label per point; a CSV with a column cloud; an .npz "
    "or .h5 of many; a benchmark list)",
    is_point_cloud_dataset,
    _read,
    "point_clouds",
)
