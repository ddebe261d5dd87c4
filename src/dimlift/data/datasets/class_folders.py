"""One folder per class with the volumes or videos of that class."""

from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import files_by_stem, infer_channel_names, list_volumes
from dimlift.data.issue import Issue

_OTHER_LAYOUTS = {"images", "labels", "imagestr", "labelstr"}


def _matches(path: Path) -> bool:
    """Require at least two folders with volumes, none with a folder name of another layout."""
    if not path.is_dir():
        return False
    classes = _class_folders(path)
    return len(classes) > 1 and not _OTHER_LAYOUTS & {folder.name.lower() for folder in classes}


def _read(path: Path, task: TaskType) -> Dataset:
    """Return one case per file, named CLASS_FILE; every case is its own group.

    Raises:
        DataError: for regression, because a folder name is not a number.
    """
    if task == "regression":
        message = "has one folder per class, but the task is regression"
        raise Issue(str(path), "error", message, "list its files in a CSV table with a number each").as_error()
    folders = _class_folders(path)
    labels = {folder.name: index for index, folder in enumerate(folders)}
    cases = []
    for folder in folders:
        for name, file in files_by_stem(list_volumes(folder)).items():
            case = f"{folder.name}_{name}"
            cases.append(Case(case, (file,), labels[folder.name], group=case))
    channels = infer_channel_names(case.images[0] for case in cases)
    return Dataset(path.resolve().name, path, tuple(cases), channels, labels, "classification")


def _class_folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and list_volumes(folder))


CLASS_FOLDERS = Layout("classes", "one folder per class (walk/1.mp4, run/1.mp4)", _matches, _read)
