"""A set of clouds as a data set of cases: one class for each cloud, or one for each of its points."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.dataset_json import FILE, read_description
from dimlift.data.datasets.point_cloud_arrays import is_member
from dimlift.data.datasets.point_cloud_index import Place, classes_of, find_places, read_place
from dimlift.data.datasets.point_cloud_set import points_digest
from dimlift.data.issue import Finding
from dimlift.errors import DataError, UnknownName

TASKS = ("segmentation", "classification")
OTHERS = -1
"""`Dataset.ignore` where every value that is not named is ignored; negative labels are anyway."""


def open_cloud_dataset(path: Path | str, task: Task, skip_bad: bool = False) -> Dataset:
    """The clouds of a set as cases.

    Args:
        path: see `find_places`. Labels of points are a column of each cloud (`label` in .ply and .pcd, `labels` in
            .npz, the classification in .las); a dataset.json {"labels": {name: value}} in the folder, or beside the
            table, names them, "ignore" being the value of points nobody labelled, or "others" for every value it does
            not name. Without it every value that occurs
            is a class of its own, and negative ones are ignored.
        task: "classification" or "segmentation".
        skip_bad: leave out clouds that cannot be read; `Dataset.left_out` says which, and why.

    Raises:
        UnknownName: for another task.
        DataError: if nothing says what the clouds show.
    """
    if task not in TASKS:
        raise UnknownName("task on clouds", task, TASKS)
    path = Path(path)
    places, left_out = sound_places(path, skip_bad)
    segmenting = task == "segmentation"
    labels, ignore = _labels_of_points(path, places) if segmenting else (_labels_of_clouds(path, places), None)
    cases = tuple(
        Case(case_name(place.name), (place.file,), place.file if segmenting else labels[str(place.kind)], place.group)
        for place in places
    )
    root = path if path.is_dir() else path.parent
    dataset = Dataset(path.stem, root, cases, ("points",), labels, task, ignore, left_out=tuple(left_out))
    if any(is_member(place.file) for place in places):  # members are no files of their own, whose content could be read
        known = [(case.name, points_digest(read_place(case.images[0]).points), _answer(case)) for case in cases]
        return dataset.known_as(points_digest(np.frombuffer(json.dumps([known, labels, task]).encode(), np.uint8)))
    return dataset


def sound_places(path: Path | str, skip_bad: bool) -> tuple[list[Place], list[str]]:
    """The clouds of a set, and one sentence for each that was left out.

    Args:
        skip_bad: leave out those that cannot be read; else none is looked at.

    Raises:
        DataError: if there is none, or none that can be read.
    """
    places = find_places(path)
    if not skip_bad:
        return places, []
    good: list[Place] = []
    left_out: list[str] = []
    for place in places:
        try:
            read_place(place.file)
            good.append(place)
        except DataError as fault:
            left_out.append(str(fault))
    if not good:
        raise DataError(f"{path} has no sound cloud: {left_out[0]}")
    return good, left_out


def labelled_task(path: Path | str) -> Task:
    """What the labels of a set are about, by its first cloud: its points if they are of several classes, else clouds.

    Raises:
        DataError: if there is no cloud, or the first cannot be read.
    """
    labels = read_place(find_places(path)[0].file).labels
    return "segmentation" if labels is not None and len(np.unique(labels[labels >= 0])) > 1 else "classification"


def case_name(name: str) -> str:
    """A name predictions can be saved under: no folders, no suffix."""
    return str(Path(name).with_suffix("")).replace("/", "_").replace("\\", "_")


def _labels_of_clouds(path: Path, places: Sequence[Place]) -> dict[str, int]:
    kinds = sorted({place.kind for place in places if place.kind is not None})
    if len(kinds) < 2:
        told = "have no labels" if not kinds else f"are all of the class {kinds[0]!r}"
        raise DataError(
            f"the clouds of {path} {told}; give a folder for each class, a CSV with a column 'label', or "
            "task=segmentation where every point has a label"
        )
    return {name: index for index, name in enumerate(classes_of(path) or kinds)}


def _labels_of_points(path: Path, places: Sequence[Place]) -> tuple[dict[str, int], int | None]:
    folder = path if path.is_dir() else path.parent
    if named := classes_of(path):
        return {name: index for index, name in enumerate(named)}, None
    if (folder / FILE).is_file():
        return _named(folder)
    values: set[int] = set()
    for place in places:
        labels = read_place(place.file).labels
        values.update(() if labels is None else np.unique(labels).tolist())
    if len(kept := sorted(value for value in values if value >= 0)) < 2:
        told = "no labels" if not kept else f"the label {kept[0]} only"
        raise DataError(
            f"the points of {path} have {told}; a column 'label' (.ply, .pcd), an array 'labels' (.npz) or the "
            "classification of a .las tells the class of each, or task=classification where a cloud shows one thing"
        )
    return {str(value): value for value in kept}, None


def _named(folder: Path) -> tuple[dict[str, int], int | None]:
    raw: Any = read_description(folder).get("labels")
    if isinstance(raw, dict) and raw.get("ignore") == "others":
        raw = {**raw, "ignore": OTHERS}
    sound = isinstance(raw, dict) and all(type(value) is int for value in raw.values())
    if not sound or len(set(raw.values())) < len(raw) or len(raw) - ("ignore" in raw) < 2:
        remedy = 'write, for example, "labels": {"floor": 0, "wall": 1, "ignore": 255}'
        found = 'has no "labels" that give two classes or more a whole number each'
        raise Finding(str(folder / FILE), "error", found, remedy).as_error()
    labels = dict(raw)
    ignore = labels.pop("ignore", None)
    return labels, ignore


def _answer(case: Case) -> Any:
    if not isinstance(case.label, Path):
        return case.label
    labels = read_place(case.label).labels
    return None if labels is None else points_digest(labels)
