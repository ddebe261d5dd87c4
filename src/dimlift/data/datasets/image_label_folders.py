"""Two plain folders: images/ and labels/, one file each per case, of the same name. Labels are found in the masks."""

from pathlib import Path

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.dataset_json import FILE, channels_of, labels_of, read_description
from dimlift.data.io.readers import by_name, channel_names, read_file, volumes_in
from dimlift.data.voxel_checks import count_labels, read_integers
from dimlift.errors import DataError

WANTED = "two folders (images/CASE.nii.gz, labels/CASE.nii.gz)"


def matches(path: Path) -> bool:
    """A folder called images with readable files."""
    return bool(volumes_in(path / "images"))


def read(path: Path, task: Task) -> Dataset:
    """Cases by file name. Without a dataset.json every value found in a mask is a label, its name its number."""
    masks = by_name(volumes_in(path / "labels"))
    images = by_name(volumes_in(path / "images"))
    cases = tuple(
        Case(name, (file,), masks.get(name, path / "labels" / file.name), group=name) for name, file in images.items()
    )
    unmatched = tuple(masks[name] for name in masks if name not in images)
    channels = channel_names(images.values())
    ignore = None
    if (path / FILE).is_file():
        description = read_description(path)
        channels = channels_of(path, description)
        labels, ignore = labels_of(path, description)
    else:
        labels = {str(value): value for value in label_values(list(masks.values()))}
    return Dataset(path.resolve().name, path, cases, channels, labels, task, ignore, (), unmatched)


def label_values(masks: list[Path]) -> list[int]:
    """Every value but 0 that occurs in a mask; files that cannot be read are left for `check` to name."""
    values: set[int] = set()
    for mask in masks:
        try:
            values.update(count_labels(read_integers(read_file(mask))))
        except DataError:
            continue
    return sorted(values - {0})
