"""Cases listed in a JSON file: nnU-Net 2's `"dataset"`, and the lists of the Decathlon and of MONAI."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimlift.data.datasets.csv_rows import resolve_cell
from dimlift.data.datasets.dataset_json import read_dataset_json
from dimlift.data.io.readers import volume_suffix
from dimlift.data.issue import Issue
from dimlift.errors import DataError

_EXAMPLES = {
    "dataset": '"case1": {"images": ["p1/t1.nii.gz"], "label": "p1/seg.nii.gz"}',
    "training": '{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}',
}


@dataclass(frozen=True)
class ListedCase:
    """One entry of a list.

    Attributes:
        images: one file per channel, relative to the list.
        label: a mask, a class (text or integer), a number, or None.
        name: name of the case; None where the list gives none.
        held_out: whether it is listed for validation or test.
    """

    images: tuple[str, ...]
    label: str | int | float | None
    name: str | None = None
    held_out: bool = False


def lists_cases(path: Path) -> bool:
    """Return whether a JSON file lists cases.

    The dataset.json of nnU-Net 1 lists cases under names that no file has (CASE.nii.gz for CASE_0000.nii.gz): it does
    not count.
    """
    content = read_dataset_json(path)
    if isinstance(content.get("dataset"), dict):
        return True
    entries = content.get("training")
    if not isinstance(entries, list) or not entries:
        return False
    first = entries[0].get("image") if isinstance(entries[0], dict) else entries[0]
    image = first[0] if isinstance(first, list) and first else first
    try:
        return isinstance(image, str) and (path.parent / image.replace("\\", "/")).exists()
    except OSError:  # a name that no file system takes
        return False


def read_listed_cases(path: Path) -> list[ListedCase]:
    """Return the cases of a list, first those for training.

    Raises:
        DataError: naming the first entry that has no image.
    """
    content = read_dataset_json(path)
    named = content.get("dataset")
    if isinstance(named, dict):
        return [_parse(path, "dataset", entry, name, False) for name, entry in named.items()]
    return [
        _parse(path, key, entry, None, key != "training", index)
        for key in ("training", "validation", "test")
        for index, entry in enumerate(_entries(path, content, key))
    ]


def _entries(path: Path, content: dict[str, Any], key: str) -> Iterator[Any]:
    entries = content.get(key)
    if entries is not None and not isinstance(entries, list):
        raise _error(path, f"has {key!r} that is no list; a list of {_EXAMPLES['training']} is expected")
    yield from entries or ()


def _parse(path: Path, key: str, entry: Any, name: str | None, held_out: bool, index: int = 0) -> ListedCase:
    raw = entry.get("image", entry.get("images")) if isinstance(entry, dict) else entry
    images = [str(image) for image in (raw if isinstance(raw, list) else [raw]) if isinstance(image, str) and image]
    listed = len(raw) if isinstance(raw, list) else 1
    label = entry.get("label") if isinstance(entry, dict) else None
    if isinstance(label, list) and len(label) == 1:
        (label,) = label
    if not images or len(images) < listed or not isinstance(label, str | int | float | None) or isinstance(label, bool):
        example = _EXAMPLES["dataset" if key == "dataset" else "training"]
        which = f"as case {name!r}" if name is not None else f"as case {index} of {key!r}"
        raise _error(path, f"has {entry!r} {which}; {example} is expected")
    if isinstance(label, str) and volume_suffix(label):
        label = _relative(path, label)
    return ListedCase(tuple(_relative(path, image) for image in images), label, name, held_out)


def _relative(path: Path, cell: str) -> str:
    """Return the path of a file relative to the list; files elsewhere keep their absolute path."""
    file = resolve_cell(path, cell, path.parent)
    return str(file.relative_to(path.parent) if file.is_relative_to(path.parent) else file)


def _error(path: Path, message: str) -> DataError:
    return Issue(str(path), "error", message, "correct the file").as_error()
