"""dataset.json of nnU-Net and the Medical Segmentation Decathlon."""

from pathlib import Path
from typing import Any

from dimlift.data.issue import Issue
from dimlift.errors import DataError
from dimlift.records.json_file import read_json

DATASET_JSON = "dataset.json"

MAX_BYTES = 6 << 20
"""Enough for a hundred thousand cases."""


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return the content of dataset.json.

    Raises:
        DataError: if it is not a JSON object, with line and column.
    """
    path = folder / DATASET_JSON
    try:
        content = read_json(path, MAX_BYTES)
    except (OSError, ValueError) as fault:
        raise _error(path, f"cannot be read: {fault}") from fault
    if not isinstance(content, dict):
        raise _error(path, "is not a JSON object")
    return content


def parse_channels(folder: Path, description: dict[str, Any]) -> tuple[str, ...]:
    """Return channel names in order, from "channel_names" (nnU-Net 2) or "modality" (Decathlon, nnU-Net 1)."""
    names = description.get("channel_names", description.get("modality"))
    path = folder / DATASET_JSON
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
    path = folder / DATASET_JSON
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
        except (TypeError, ValueError) as fault:
            raise _error(path, f"has the label {key!r}: {value!r}; an integer is expected") from fault
    if len(set(labels.values())) < len(labels):
        raise _error(path, f'has several "labels" with the same number: {labels}')
    ignore = labels.pop("ignore", None)
    return {name: value for name, value in labels.items() if value != 0}, ignore


def lists_existing_files(folder: Path, description: dict[str, Any]) -> bool:
    """Return whether the listed cases exist under exactly the listed names (true for Decathlon, not for nnU-Net 1)."""
    cases = description.get("training")
    if not isinstance(cases, list) or not cases:
        return False
    image = cases[0].get("image") if isinstance(cases[0], dict) else cases[0]
    return isinstance(image, str) and (folder / image).is_file()


def _error(path: Path, message: str, fix: str = "correct the file") -> DataError:
    return Issue(str(path), "error", message, fix).as_error()
