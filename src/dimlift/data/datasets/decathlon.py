"""The Medical Segmentation Decathlon's layout: a dataset.json that lists image and label of every case.

Antonelli et al., 2022, https://doi.org/10.1038/s41467-022-30695-9
"""

from pathlib import Path
from typing import Any

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.dataset_json import FILE, channels_of, labels_of, read_description
from dimlift.data.io.readers import stem_of, volumes_in
from dimlift.data.issue import Finding

WANTED = 'Decathlon (dataset.json with "training": [{"image": ..., "label": ...}, ...])'


def matches(path: Path) -> bool:
    """A dataset.json with a list of training cases, or with plain image names in imagesTr."""
    return (path / FILE).is_file() and ("training" in read_description(path) or bool(volumes_in(path / "imagesTr")))


def read(path: Path, task: Task) -> Dataset:
    """The listed cases; with no list, the files of imagesTr and labelsTr of the same name."""
    description = read_description(path)
    channels = channels_of(path, description)
    labels, ignore = labels_of(path, description)
    listed = description.get("training")
    if listed is None:
        listed = [
            {"image": f"imagesTr/{file.name}", "label": f"labelsTr/{file.name}"}
            for file in volumes_in(path / "imagesTr")
        ]
    cases = tuple(_case(path, entry, index) for index, entry in enumerate(listed))
    tests = tuple(_case(path, entry, index) for index, entry in enumerate(description.get("test", [])))
    tests = tuple(case for case in tests if all(image.is_file() for image in case.images))
    known = {image.name for case in cases for image in case.images}
    unmatched = tuple(file for file in volumes_in(path / "imagesTr") if file.name not in known)
    name = str(description.get("name") or path.resolve().name)
    return Dataset(name, path, cases, channels, labels, task, ignore, tests, unmatched)


def _case(root: Path, entry: Any, index: int) -> Case:
    image = entry.get("image") if isinstance(entry, dict) else entry
    label = entry.get("label") if isinstance(entry, dict) else None
    if not isinstance(image, str) or not isinstance(label, str | None):
        found = (
            f'has {entry!r} as case {index}; {{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}} is wanted'
        )
        raise Finding(str(root / FILE), "error", found, "correct it by hand").as_error()
    name = stem_of(image)
    return Case(name, (root / image,), root / label if label else None, group=name)
