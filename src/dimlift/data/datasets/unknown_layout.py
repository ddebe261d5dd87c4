"""Why a folder is no dataset: the nearest layout by its files, and what to change."""

from pathlib import Path

from dimlift.data.datasets.class_folders import evidence_for_patients
from dimlift.data.datasets.dataset_json import DATASET_JSON
from dimlift.data.datasets.image_label_folders import PAIR_FOLDERS
from dimlift.data.datasets.patient_files import find_patient_folders
from dimlift.data.io.readers import list_volumes
from dimlift.data.issue import Issue

_PATTERNS = 'write layout patterns, for example layout: {image: "{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}'


def unknown_layout_issue(path: Path, expected: str) -> Issue:
    """Return the issue of a path that no layout matches.

    Args:
        path: an existing file or folder.
        expected: description of all layouts, where none is near.
    """
    root = str(path)
    if not path.is_dir():
        return Issue(root, "error", "has no known layout", f"arrange it as {expected}")
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in (".csv", ".json"))
    tables = [file for file in tables if file.name != DATASET_JSON and not file.name.startswith(".")]
    if tables:
        message = f"has no known layout, but holds {tables[0].name}"
        fix = f"pass that file if it lists the cases, or arrange the folder as {expected}"
        return Issue(root, "error", message, fix)
    volumes = list_volumes(path)
    inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    named = [folder.name for folder in inside if folder.name.lower() in PAIR_FOLDERS]
    if named:
        message = f"has {named[0]}/; the nearest layout is two folders, images/ and labels/, with volumes in both"
        return Issue(root, "error", message, f"put images into images/ and masks into labels/, or {_PATTERNS}")
    if why := evidence_for_patients(path):
        masks = any(folder.masks for folder in find_patient_folders(path))
        nearest = "one folder per patient" + ("" if masks else ", whose masks are named ..._seg, ..._mask or masks/")
        message = f"has no known layout; the nearest is {nearest}: {why}"
        return Issue(root, "error", message, f"{_PATTERNS}; if the folders are classes, layout: classes")
    if volumes:
        message = f"holds {len(volumes)} volumes, but no folder of masks and no list of labels"
        return Issue(root, "error", message, f"move images to images/ and masks to labels/, or {_PATTERNS}")
    return Issue(root, "error", "has no known layout", f"arrange it as {expected}; or {_PATTERNS}")
