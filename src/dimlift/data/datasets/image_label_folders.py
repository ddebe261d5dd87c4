"""Two folders, images/ and labels/, with one file per case and equal names; labels are read from the masks."""

from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import DATASET_JSON, parse_channels, parse_labels, read_dataset_json
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import files_by_stem, infer_channel_names, list_volumes, read_volume
from dimlift.data.voxel_checks import count_labels, integer_labels
from dimlift.errors import DataError


def _matches(path: Path) -> bool:
    """Require a folder images with volumes."""
    return bool(list_volumes(path / "images"))


def _read(path: Path, task: TaskType) -> Dataset:
    """Return cases by file name. Without a dataset.json every value in a mask is a label, named by its number."""
    masks = files_by_stem(list_volumes(path / "labels"))
    images = files_by_stem(list_volumes(path / "images"))
    cases = tuple(
        Case(name, (file,), masks.get(name, path / "labels" / file.name), group=name) for name, file in images.items()
    )
    unmatched = tuple(masks[name] for name in masks if name not in images)
    channels = infer_channel_names(images.values())
    ignore = None
    if (path / DATASET_JSON).is_file():
        description = read_dataset_json(path)
        channels = parse_channels(path, description)
        labels, ignore = parse_labels(path, description)
    else:
        labels = {str(value): value for value in find_label_values(list(masks.values()))}
    return Dataset(path.resolve().name, path, cases, channels, labels, task, ignore, (), unmatched)


def find_label_values(masks: list[Path]) -> list[int]:
    """Return every nonzero value in the masks, sorted; unreadable files are left to `check_dataset`."""
    values: set[int] = set()
    for mask in masks:
        try:
            values.update(count_labels(integer_labels(read_volume(mask))))
        except DataError:
            continue
    return sorted(values - {0})


IMAGE_LABEL_FOLDERS = Layout("folders", "two folders (images/CASE.nii.gz, labels/CASE.nii.gz)", _matches, _read)
