"""One folder per class with the volumes or videos of that class.

Folders of patients have the same form, so they are read as classes only where nothing speaks for patients.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.file_roles import CLASS_WORDS, SPLIT_WORDS, words_of_name
from dimlift.data.datasets.image_label_folders import PAIR_FOLDERS
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.patient_files import find_patient_folders
from dimlift.data.io import video
from dimlift.data.io.readers import (
    files_by_stem,
    infer_channel_names,
    list_volumes,
    read_grid,
    read_volume,
    volume_suffix,
)
from dimlift.data.issue import Issue
from dimlift.errors import DataError

_SEQUENCE = re.compile(r"(t1|t2)([a-z]{1,3})?|flair|adc|dwi|swi|pd|ct|cta|pet|mra?|dce", re.IGNORECASE)
_MAX_MASK_VALUES = 32
_MAX_FOLDERS_READ = 2
_MAX_FILES_READ = 4


def _matches(path: Path) -> bool:
    """Require at least two folders with volumes, and nothing that speaks for patients."""
    return path.is_dir() and len(_class_folders(path)) > 1 and not evidence_for_patients(path)


def _read(path: Path, task: TaskType | None) -> Dataset:
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


def evidence_for_patients(path: Path) -> str:
    """Return why folders with volumes are those of patients (or of images and masks) and not of classes; else ""."""
    folders = _class_folders(path)
    if not folders:
        return ""
    if named := [folder.name for folder in folders if folder.name.lower() in PAIR_FOLDERS | SPLIT_WORDS]:
        return f"the folder {named[0]}/ is named after its role, not after a class"
    patients = find_patient_folders(path)
    if masks := [file.path for folder in patients for file in folder.masks]:
        return f"{masks[0].relative_to(path)} is a mask by its name"
    if nested := [folder for folder in patients if len(folder.folders) > 1]:
        return f"{'/'.join(nested[0].folders)}/ holds volumes below the folders"
    if is_numbered(folder.name for folder in folders):
        return f"the folders are numbered ({folders[0].name}/, {folders[-1].name}/)"
    files = {folder.name: list_volumes(folder) for folder in folders}
    if all(len(inside) == 1 for inside in files.values()):
        return "every folder holds a single file"
    roles = Counter(file.role for folder in patients for file in folder.files)
    repeated = all(2 * count > len(patients) for count in roles.values())
    if repeated and (not _number_only(roles) or any(_SEQUENCE.fullmatch(role) for role in roles)):
        return f"the folders hold the same file names ({', '.join(sorted(roles)[:4])}), as sequences of patients"
    return next(filter(None, map(_mask_by_content, [files[f.name] for f in folders[:_MAX_FOLDERS_READ]])), "")


def is_numbered(names: Iterable[str]) -> bool:
    """Return whether names differ in their number only (`patient1`, `patient2`), unless the text says class or grade.

    Plain numbers of up to two digits are classes as well as patients, and do not count.
    """
    listed = list(names)
    text = _number_only(listed)
    if not text or not CLASS_WORDS.isdisjoint(words_of_name(text)):
        return False
    return text != "0" or max(map(len, listed)) > 2


def _number_only(names: Iterable[str]) -> str:
    """Return the text that all names share if they differ in numbers only, with 0 for each number; else ""."""
    texts = {re.sub(r"\d+", "0", name.lower()) for name in names}
    text = texts.pop()
    return text if not texts and "0" in text else ""


def _mask_by_content(files: list[Path]) -> str:
    """Return a sentence on a file that holds few whole numbers on the grid of a file beside it; else ""."""
    still = [file for file in files if volume_suffix(file) not in video.SUFFIXES][:_MAX_FILES_READ]
    for one, other in pairwise(still):
        try:
            grids = read_grid(one), read_grid(other)
            if grids[0].shape != grids[1].shape or not np.allclose(grids[0].affine, grids[1].affine, atol=1e-3):
                continue
            few = [_holds_few_integers(file) for file in (one, other)]
        except DataError:
            continue
        if few[0] != few[1]:
            mask, image = (one, other) if few[0] else (other, one)
            return f"{mask.parent.name}/{mask.name} holds few whole numbers on the grid of {image.name}, as a mask does"
    return ""


def _holds_few_integers(file: Path) -> bool:
    array = read_volume(file).array
    values = np.unique(array)
    return len(values) <= _MAX_MASK_VALUES and bool((values == np.round(values)).all())


def _class_folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and list_volumes(folder))


CLASS_FOLDERS = Layout(
    "classes",
    "one folder per class (walk/1.mp4, run/1.mp4)",
    _matches,
    _read,
    evidence="one folder per class, with several files each",
)
