"""nnU-Net's raw layout: imagesTr/CASE_0000.nii.gz (one file per channel), labelsTr/CASE.nii.gz, dataset.json.

Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

import re
from pathlib import Path

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.dataset_json import FILE, channels_of, labels_of, lists_files, read_description
from dimlift.data.io.readers import by_name, stem_of, suffix_of, volumes_in

WANTED = "nnU-Net (imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, dataset.json)"

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def matches(path: Path) -> bool:
    """A dataset.json beside image files with channel numbers, unless it lists those very files as cases."""
    if not (path / FILE).is_file() or lists_files(path, read_description(path)):
        return False
    return any(_CHANNEL.match(stem_of(file)) for file in volumes_in(path / "imagesTr"))


def read(path: Path, task: Task) -> Dataset:
    """The cases that have an image or a label; what is missing of a case is left for `check` to name."""
    description = read_description(path)
    channels = channels_of(path, description)
    labels, ignore = labels_of(path, description)
    cases, unmatched = _cases(path / "imagesTr", path / "labelsTr", len(channels), labelled=True)
    tests, strays = _cases(path / "imagesTs", path / "labelsTs", len(channels), labelled=False)
    name = str(description.get("name") or path.resolve().name)
    return Dataset(name, path, cases, channels, labels, task, ignore, tests, unmatched + strays)


def _cases(images: Path, labels: Path, channels: int, labelled: bool) -> tuple[tuple[Case, ...], tuple[Path, ...]]:
    """Cases by name, and the files that are no channel of any case."""
    found: dict[str, dict[int, Path]] = {}
    unmatched = []
    for name, file in by_name(volumes_in(images)).items():
        match = _CHANNEL.match(name)
        if match and int(match["channel"]) < channels:
            found.setdefault(match["case"], {})[int(match["channel"])] = file
        else:
            unmatched.append(file)
    masks = by_name(volumes_in(labels))
    unmatched += [masks[name] for name in masks if name not in found]
    cases = []
    for name, files in sorted(found.items()):
        suffix = suffix_of(next(iter(files.values()))) or ".nii.gz"
        paths = tuple(files.get(channel, images / f"{name}_{channel:04d}{suffix}") for channel in range(channels))
        missing = labels / f"{name}{suffix}" if labelled else None
        cases.append(Case(name, paths, masks.get(name, missing), group=name))
    return tuple(cases), tuple(unmatched)
