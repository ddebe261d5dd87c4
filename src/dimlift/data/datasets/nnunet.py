"""nnU-Net raw datasets: imagesTr/CASE_0000.nii.gz (one file per channel), labelsTr/CASE.nii.gz, dataset.json.

Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

import re
from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import DATASET_JSON, parse_channels, parse_labels, read_dataset_json
from dimlift.data.datasets.json_cases import lists_cases
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import files_by_stem, list_volumes, volume_stem, volume_suffix

CHANNEL_FILE = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
"""File name of one channel of a case, without suffix."""


def is_nnunet(path: Path) -> bool:
    """Require a dataset.json and image files with channel numbers, unless dataset.json lists the cases itself."""
    if not (path / DATASET_JSON).is_file() or lists_cases(path / DATASET_JSON):
        return False
    return any(CHANNEL_FILE.match(volume_stem(file)) for file in list_volumes(path / "imagesTr"))


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return the cases that have an image; their missing files are left to `check_dataset`."""
    description = read_dataset_json(path)
    channels = parse_channels(path, description)
    labels, ignore = parse_labels(path, description)
    cases, unmatched = _find_cases(path / "imagesTr", path / "labelsTr", len(channels), labelled=True)
    test_cases, unmatched_test = _find_cases(path / "imagesTs", path / "labelsTs", len(channels), labelled=False)
    name = str(description.get("name") or path.resolve().name)
    return Dataset(name, path, cases, channels, labels, "segmentation", ignore, test_cases, unmatched + unmatched_test)


def _find_cases(images: Path, labels: Path, channels: int, labelled: bool) -> tuple[tuple[Case, ...], tuple[Path, ...]]:
    """Return cases by name, and the files that are not a channel of any case."""
    by_case: dict[str, dict[int, Path]] = {}
    unmatched = []
    for name, file in files_by_stem(list_volumes(images)).items():
        match = CHANNEL_FILE.match(name)
        if match and int(match["channel"]) < channels:
            by_case.setdefault(match["case"], {})[int(match["channel"])] = file
        else:
            unmatched.append(file)
    masks = files_by_stem(list_volumes(labels))
    unmatched += [masks[name] for name in masks if name not in by_case]
    cases = []
    for name, files in sorted(by_case.items()):
        suffix = volume_suffix(next(iter(files.values()))) or ".nii.gz"
        paths = tuple(files.get(channel, images / f"{name}_{channel:04d}{suffix}") for channel in range(channels))
        missing = labels / f"{name}{suffix}" if labelled else None
        cases.append(Case(name, paths, masks.get(name, missing), group=name))
    return tuple(cases), tuple(unmatched)


NNUNET = Layout(
    "nnunet",
    "nnU-Net (imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, dataset.json)",
    is_nnunet,
    _read,
    evidence="dataset.json, and a channel number at the end of the file names in imagesTr",
    compared=True,
)
