"""dataset.json of nnU-Net and the Medical Segmentation Decathlon, and the channels and labels it names."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dimlift.data.io.readers import read_volume
from dimlift.data.issue import Issue
from dimlift.data.voxel_checks import count_labels, integer_labels
from dimlift.errors import DataError
from dimlift.records.json_file import read_json

DATASET_JSON = "dataset.json"

MAX_BYTES = 6 << 20
"""Enough for a hundred thousand cases."""


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return the content of dataset.json.

    Args:
        folder: the folder that holds it, or a file with another name (`datalist.json`).

    Raises:
        DataError: if it is not a JSON object, with line and column.
    """
    path = json_file(folder)
    try:
        content = read_json(path, MAX_BYTES)
    except (OSError, ValueError) as fault:
        raise _error(path, f"cannot be read: {fault}") from fault
    if not isinstance(content, dict):
        raise _error(path, "is not a JSON object")
    return content


def json_file(folder: Path) -> Path:
    """Return the dataset.json of a folder; a path that is such a file itself is returned as it is."""
    return folder if folder.is_file() else folder / DATASET_JSON


def parse_channels(folder: Path, description: dict[str, Any]) -> tuple[str, ...]:
    """Return channel names in order, from "channel_names" (nnU-Net 2) or "modality" (Decathlon, nnU-Net 1)."""
    names = description.get("channel_names", description.get("modality"))
    path = json_file(folder)
    if not isinstance(names, dict) or not names:
        raise _error(path, 'has no "channel_names"', 'add, for example, "channel_names": {"0": "T1"}')
    try:
        order = sorted(names, key=int)
    except ValueError as fault:
        raise _error(path, f'has "channel_names" with keys {list(names)}; they must be "0", "1", ...') from fault
    return tuple(str(names[key]) for key in order)


def parse_labels(folder: Path, description: dict[str, Any]) -> tuple[dict[str, int], int | None]:
    """Return foreground labels by name, and the value of the ignore label if there is one.

    Both orders are read: name to value (nnU-Net 2), value to name (Decathlon).
    """
    path = json_file(folder)
    raw = description.get("labels")
    if not isinstance(raw, dict) or not raw:
        raise _error(path, 'has no "labels"', 'add, for example, "labels": {"background": 0, "tumour": 1}')
    labels: dict[str, int] = {}
    for key, value in raw.items():
        if isinstance(value, list):
            fix = 'give every label one number; regions such as "whole tumour": [1, 2] are not supported'
            raise _error(path, f'has the region {key!r}: {value} in its "labels"', fix)
        name, number = (str(value), key) if str(key).isdigit() and not isinstance(value, int) else (str(key), value)
        try:
            labels[name] = int(number)
            if isinstance(number, float) and number != labels[name]:
                raise ValueError(number)
        except (TypeError, ValueError, OverflowError) as fault:
            raise _error(path, f"has the label {key!r}: {value!r}; an integer is expected") from fault
    if len(set(labels.values())) < len(labels):
        raise _error(path, f'has several "labels" with the same number: {labels}')
    ignore = labels.pop("ignore", None)
    return {name: value for name, value in labels.items() if value != 0}, ignore


def describe_labels(folder: Path, masks: Sequence[Path]) -> tuple[dict[str, int], int | None]:
    """Return labels and ignore label from a dataset.json in the folder; without one, every value found in the masks."""
    if (folder / DATASET_JSON).is_file():
        return parse_labels(folder, read_dataset_json(folder))
    return {str(value): value for value in find_label_values(masks)}, None


def find_label_values(masks: Sequence[Path]) -> list[int]:
    """Return every nonzero value in the masks, sorted; unreadable files are left to `check_dataset`."""
    values: set[int] = set()
    for mask in masks:
        try:
            status = mask.stat()
            values.update(_label_values(mask, status.st_mtime_ns, status.st_size))
        except (DataError, OSError):
            continue
    return sorted(values - {0})


@lru_cache(maxsize=1 << 16)
def _label_values(mask: Path, _mtime_ns: int, _size: int) -> frozenset[int]:
    """Return the values in a mask; a command opens a dataset twice (its task, then its cases) and reads them once."""
    return frozenset(count_labels(integer_labels(read_volume(mask))))


def _error(path: Path, message: str, fix: str = "correct the file") -> DataError:
    return Issue(str(path), "error", message, fix).as_error()
