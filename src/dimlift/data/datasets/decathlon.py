"""Cases listed in a JSON file, with image and label of each.

The Medical Segmentation Decathlon and MONAI's datalists list them under "training" (Antonelli et al., 2022,
https://doi.org/10.1038/s41467-022-30695-9), nnU-Net 2 under "dataset", by name.
"""

from pathlib import Path, PurePosixPath

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.case_names import name_cases, require_valid_names
from dimlift.data.datasets.dataset_json import (
    DATASET_JSON,
    find_label_values,
    json_file,
    parse_channels,
    parse_labels,
    read_dataset_json,
)
from dimlift.data.datasets.json_cases import ListedCase, read_listed_cases
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.nnunet import is_nnunet
from dimlift.data.datasets.table_labels import class_indices, infer_cell_task, parse_label
from dimlift.data.io.readers import infer_channel_names, list_volumes
from dimlift.data.issue import Issue


def _is_decathlon(path: Path) -> bool:
    """Require a list of training cases in dataset.json (or a JSON file of another name), or images in imagesTr."""
    file = json_file(path)
    if file.suffix.lower() != ".json" or not file.is_file() or is_nnunet(path) or _is_file_list(path):
        return False
    return "training" in read_dataset_json(file) or bool(list_volumes(path / "imagesTr"))


def _is_file_list(path: Path) -> bool:
    """Require a dataset.json with "dataset": {case: {"images": [...], "label": ...}}."""
    file = json_file(path)
    return (
        file.suffix.lower() == ".json" and file.is_file() and isinstance(read_dataset_json(file).get("dataset"), dict)
    )


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return the listed cases; without a list, the files with the same names in imagesTr and labelsTr."""
    file = json_file(path)
    root = file.parent
    description = read_dataset_json(file)
    if "training" in description or isinstance(description.get("dataset"), dict):
        listed = read_listed_cases(file)
    else:
        listed = [
            ListedCase((f"imagesTr/{image.name}",), f"labelsTr/{image.name}")
            for image in list_volumes(root / "imagesTr")
        ]
    if not listed:
        raise Issue(str(file), "error", "lists no case", "list image and label of each").as_error()
    cells = ["" if entry.label is None else str(entry.label) for entry in listed]
    task = infer_cell_task(cells, task)
    cases = _make_cases(file, listed, cells, task, class_indices(cells))
    held_out = [entry.held_out for entry in listed]
    training = tuple(case for case, out in zip(cases, held_out, strict=True) if not out)
    # the Decathlon lists test images that are not part of the download
    others = tuple(
        case for case, out in zip(cases, held_out, strict=True) if out and all(image.is_file() for image in case.images)
    )
    labels, ignore = _labels(file, description, training, task, cells)
    used = {image.resolve() for case in cases for image in case.images}
    unmatched = tuple(image for image in list_volumes(root / "imagesTr") if image.resolve() not in used)
    name = description.get("name")
    name = name if isinstance(name, str) and name else root.resolve().name if file.name == DATASET_JSON else file.stem
    channels = _channels(file, description, training or others)
    return Dataset(name, root, training, channels, labels, task, ignore, others, unmatched)


def _make_cases(
    file: Path, listed: list[ListedCase], cells: list[str], task: TaskType, classes: dict[str, int]
) -> list[Case]:
    root = file.parent
    named = name_cases([PurePosixPath(entry.images[0]) for entry in listed])
    cases = []
    for entry, cell, (name, group) in zip(listed, cells, named, strict=True):
        group = entry.name or name if group == name else group
        name = entry.name or name
        label = parse_label(file, f"case {name!r}", cell, root, task, classes)
        cases.append(Case(name, tuple(root / image for image in entry.images), label, group))
    require_valid_names(file, cases, "list each case once")
    return cases


def _channels(file: Path, description: dict[str, object], cases: tuple[Case, ...]) -> tuple[str, ...]:
    if "channel_names" in description or "modality" in description:
        return parse_channels(file, description)
    count = max((len(case.images) for case in cases), default=1)
    if count > 1:
        return tuple(f"image{index}" for index in range(1, count + 1))
    return infer_channel_names(case.images[0] for case in cases)


def _labels(
    file: Path, description: dict[str, object], cases: tuple[Case, ...], task: TaskType, cells: list[str]
) -> tuple[dict[str, int], int | None]:
    if task == "regression":
        return {}, None
    if task == "classification":
        return class_indices(cells), None
    if "labels" in description:
        return parse_labels(file, description)
    masks = [case.label for case in cases if isinstance(case.label, Path)]
    return {str(value): value for value in find_label_values(masks)}, None


DECATHLON = Layout(
    "decathlon",
    'Decathlon or MONAI datalist (dataset.json with "training": [{"image": ..., "label": ...}, ...])',
    _is_decathlon,
    _read,
    evidence='a JSON file with "training", or imagesTr',
    compared=True,
)

NNUNET_FILE_LIST = Layout(
    "nnunet_files",
    'nnU-Net 2 file list (dataset.json with "dataset": {"case1": {"images": [...], "label": ...}, ...})',
    _is_file_list,
    _read,
    evidence='a dataset.json with "dataset"',
    compared=True,
)
