"""dataset.json, as nnU-Net and the Medical Segmentation Decathlon write it."""

from pathlib import Path
from typing import Any

from dimlift.data.issue import Finding
from dimlift.errors import DataError
from dimlift.records.json_file import read_json

FILE = "dataset.json"

LARGEST = 6 << 20
"""Bytes: enough for a hundred thousand cases."""


def read_description(folder: Path) -> dict[str, Any]:
    """The content of dataset.json.

    Raises:
        DataError: if it is no JSON object, naming line and column.
    """
    path = folder / FILE
    try:
        content = read_json(path, LARGEST)
    except (OSError, ValueError) as fault:
        raise Finding(str(path), "error", f"cannot be read: {fault}", "correct it by hand").as_error() from fault
    if not isinstance(content, dict):
        raise _wrong(path, "is no JSON object")
    return content


def channels_of(folder: Path, description: dict[str, Any]) -> tuple[str, ...]:
    """Channel names in order, from "channel_names" (nnU-Net 2) or "modality" (Decathlon, nnU-Net 1)."""
    names = description.get("channel_names", description.get("modality"))
    path = folder / FILE
    if not isinstance(names, dict) or not names:
        raise _wrong(path, 'has no "channel_names"', 'add, for example, "channel_names": {"0": "T1"}')
    try:
        order = sorted(names, key=int)
    except ValueError as fault:
        raise _wrong(path, f'has "channel_names" with keys {list(names)}; they must be "0", "1", ...') from fault
    return tuple(str(names[key]) for key in order)


def labels_of(folder: Path, description: dict[str, Any]) -> tuple[dict[str, int], int | None]:
    """Foreground labels by name, and the value of the ignore label if there is one.

    nnU-Net 2 writes name: value, the Decathlon value: name; both are read.
    """
    path = folder / FILE
    raw = description.get("labels")
    if not isinstance(raw, dict) or not raw:
        raise _wrong(path, 'has no "labels"', 'add, for example, "labels": {"background": 0, "tumour": 1}')
    labels: dict[str, int] = {}
    for key, value in raw.items():
        if isinstance(value, list):
            remedy = 'give every label one number; regions such as "whole tumour": [1, 2] are not trained as classes'
            raise _wrong(path, f'has the region {key!r}: {value} among its "labels"', remedy)
        name, number = (str(value), key) if str(key).isdigit() and not isinstance(value, int) else (str(key), value)
        try:
            labels[name] = int(number)
        except (TypeError, ValueError) as fault:
            raise _wrong(path, f"has the label {key!r}: {value!r}; a whole number is wanted") from fault
    if len(set(labels.values())) < len(labels):
        raise _wrong(path, f'gives one number to several "labels": {labels}')
    ignore = labels.pop("ignore", None)
    return {name: value for name, value in labels.items() if value != 0}, ignore


def lists_files(folder: Path, description: dict[str, Any]) -> bool:
    """Whether the cases it lists are there under the very names listed (Decathlon, but not nnU-Net 1)."""
    listed = description.get("training")
    if not isinstance(listed, list) or not listed:
        return False
    image = listed[0].get("image") if isinstance(listed[0], dict) else listed[0]
    return isinstance(image, str) and (folder / image).is_file()


def _wrong(path: Path, finding: str, remedy: str = "correct it by hand") -> DataError:
    return Finding(str(path), "error", finding, remedy).as_error()
