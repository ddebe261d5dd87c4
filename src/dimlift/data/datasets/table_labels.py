"""Labels in the cells of a table or list: masks, class names or numbers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dimlift.data.case import TaskType
from dimlift.data.datasets.csv_rows import resolve_cell
from dimlift.data.io.readers import volume_suffix
from dimlift.data.issue import Issue

_INTEGER = re.compile(r"[-+]?\d+")


def infer_cell_task(cells: Sequence[str], task: TaskType | None) -> TaskType:
    """Return what the cells are; `task` decides between classes and numbers.

    Masks have the suffix of a volume. Text, and integers that repeat, are classes. Numbers with a fraction are a
    regression, and so are more than two integers most of which occur once.
    """
    filled = [cell for cell in cells if cell]
    if any(volume_suffix(cell) for cell in filled):
        return "segmentation"
    if task in ("classification", "regression"):
        return task
    numbers = [_number(cell) for cell in filled]
    if not filled or None in numbers:
        return "classification"
    values = set(numbers)
    if all(_INTEGER.fullmatch(cell) for cell in filled) and (len(values) <= 2 or 2 * len(values) <= len(filled)):
        return "classification"
    return "regression"


def class_indices(cells: Sequence[str]) -> dict[str, int]:
    """Return class names to 0, 1, ...; integers in numerical order, names in alphabetical order."""
    names = {cell for cell in cells if cell}
    numeric = all(_INTEGER.fullmatch(name) for name in names)
    return {name: index for index, name in enumerate(sorted(names, key=int if numeric else str))}


def parse_label(
    file: Path, where: str, cell: str, root: Path, task: TaskType, classes: Mapping[str, int]
) -> Path | int | float | None:
    """Return a mask, a class index or a number; None for an empty cell.

    Args:
        file: the table or list, for messages.
        where: the line or case, for messages.
        cell: its label.
        root: folder that masks are relative to.
        task: what labels are.
        classes: see `class_indices`.

    Raises:
        DataError: if the cell is no number, for regression.
    """
    if not cell:
        return None
    if task == "segmentation":
        return resolve_cell(file, cell, root)
    if task == "classification":
        return classes[cell]
    number = _number(cell)
    if number is None or number != number:
        message = f"has the label {cell!r} in {where}; a number is expected for regression"
        raise Issue(str(file), "error", message, "correct it").as_error()
    return number


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
