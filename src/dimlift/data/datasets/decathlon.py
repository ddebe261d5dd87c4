"""Medical Segmentation Decathlon: a dataset.json that lists image and label of every case.

Antonelli et al., 2022, https://doi.org/10.1038/s41467-022-30695-9
"""

from pathlib import Path
from typing import Any

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import DATASET_JSON, parse_channels, parse_labels, read_dataset_json
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import list_volumes, volume_stem
from dimlift.data.issue import Issue


def _matches(path: Path) -> bool:
    """Require a dataset.json with a list of training cases, or with image files in imagesTr."""
    if not (path / DATASET_JSON).is_file():
        return False
    return "training" in read_dataset_json(path) or bool(list_volumes(path / "imagesTr"))


def _read(path: Path, task: TaskType) -> Dataset:
    """Return the listed cases; without a list, the files with the same names in imagesTr and labelsTr."""
    description = read_dataset_json(path)
    channels = parse_channels(path, description)
    labels, ignore = parse_labels(path, description)
    entries = description.get("training")
    if entries is None:
        entries = [
            {"image": f"imagesTr/{file.name}", "label": f"labelsTr/{file.name}"}
            for file in list_volumes(path / "imagesTr")
        ]
    cases = tuple(_parse_case(path, entry, index) for index, entry in enumerate(entries))
    test_cases = tuple(_parse_case(path, entry, index) for index, entry in enumerate(description.get("test", [])))
    test_cases = tuple(case for case in test_cases if all(image.is_file() for image in case.images))
    known = {image.name for case in cases for image in case.images}
    unmatched = tuple(file for file in list_volumes(path / "imagesTr") if file.name not in known)
    name = str(description.get("name") or path.resolve().name)
    return Dataset(name, path, cases, channels, labels, task, ignore, test_cases, unmatched)


def _parse_case(root: Path, entry: Any, index: int) -> Case:
    image = entry.get("image") if isinstance(entry, dict) else entry
    label = entry.get("label") if isinstance(entry, dict) else None
    if not isinstance(image, str) or not isinstance(label, str | None):
        expected = '{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}'
        message = f"has {entry!r} as case {index}; {expected} is expected"
        raise Issue(str(root / DATASET_JSON), "error", message, "correct the file").as_error()
    name = volume_stem(image)
    return Case(name, (root / image,), root / label if label else None, group=name)


DECATHLON = Layout(
    "decathlon", 'Decathlon (dataset.json with "training": [{"image": ..., "label": ...}, ...])', _matches, _read
)
