"""A folder for each class, with the volumes or videos of that class in it."""

from pathlib import Path

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.io.readers import by_name, channel_names, volumes_in
from dimlift.data.issue import Finding

WANTED = "a folder for each class, files in it (walk/1.mp4, run/1.mp4)"


def matches(path: Path) -> bool:
    """At least two folders with readable files, and none called as the folders of other layouts."""
    if not path.is_dir():
        return False
    classes = _classes(path)
    return len(classes) > 1 and not {"images", "labels", "imagestr", "labelstr"} & {c.name.lower() for c in classes}


def read(path: Path, task: Task) -> Dataset:
    """One case a file, called CLASS_FILE; every case is its own group.

    Raises:
        DataError: for a regression: a folder is no number.
    """
    if task == "regression":
        finding = "has a folder for each class, but the task is regression"
        raise Finding(str(path), "error", finding, "list its files in a CSV table with a number each").as_error()
    folders = _classes(path)
    labels = {folder.name: index for index, folder in enumerate(folders)}
    cases = []
    for folder in folders:
        for name, file in by_name(volumes_in(folder)).items():
            case = f"{folder.name}_{name}"
            cases.append(Case(case, (file,), labels[folder.name], group=case))
    channels = channel_names(case.images[0] for case in cases)
    return Dataset(path.resolve().name, path, tuple(cases), channels, labels, "classification")


def _classes(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and volumes_in(folder))
