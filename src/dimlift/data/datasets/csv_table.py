"""A CSV table with the columns image (and image2, ... for further channels), label, group, and optionally name.

Labels are masks, class names or numbers. Paths are relative to the table. `group` is the patient; without it every row
is its own group.
"""

import csv
import difflib
import re
from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.image_label_folders import find_label_values
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import infer_channel_names, volume_stem, volume_suffix
from dimlift.data.issue import Issue
from dimlift.errors import DataError

MAX_BYTES = 32 << 20
"""Enough for a hundred thousand rows."""

_IMAGE = re.compile(r"^image_?(\d*)$")


def _matches(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".csv"


def _read(path: Path, task: TaskType) -> Dataset:
    """Return one case per row. Masks mean segmentation, anything else classification unless the task is regression."""
    rows, columns = _read_rows(path)
    images = [column for column in columns if _IMAGE.match(column)]
    if not images:
        near = difflib.get_close_matches("image", columns, n=1, cutoff=0.5)
        hint = f" ({near[0]!r} is similar)" if near else ""
        raise _error(path, f"has the columns {', '.join(columns)}, but no column image{hint}", "rename the column")
    images.sort(key=lambda column: int(_IMAGE.match(column)[1] or -1))  # type: ignore[index]
    cells = [row.get("label", "") for row in rows]
    has_masks = any(volume_suffix(cell) for cell in cells)
    labels: dict[str, int] = {}
    if not has_masks and task == "segmentation":
        task = "classification"
    if not has_masks and task == "classification":
        labels = _class_indices(cells)
    root = path.resolve().parent
    names = _case_names([next((row[column] for column in images if row[column]), "") for row in rows])
    cases = []
    for number, row in enumerate(rows, start=2):
        if not any(row[column] for column in images):
            raise _error(path, f"has no file in an image column of line {number}", "fill it in or remove the line")
        # an empty cell becomes a path that does not exist; whether a channel may be missing is decided on reading
        files = tuple(root / (row[column] or f"{column} of line {number} (empty)") for column in images)
        name = row.get("name") or names[number - 2]
        label = _parse_label(path, number, row.get("label", ""), root, task, labels)
        cases.append(Case(name, files, label, row.get("group") or name))
    _require_valid_names(path, cases)
    if has_masks:
        masks = [case.label for case in cases if isinstance(case.label, Path)]
        labels = {str(value): value for value in find_label_values(masks)}
    channels = tuple(images) if len(images) > 1 else infer_channel_names(case.images[0] for case in cases)
    return Dataset(path.stem, root, tuple(cases), channels, labels, task)


def _read_rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    if path.stat().st_size > MAX_BYTES:
        raise _error(path, f"has {path.stat().st_size:,} bytes, the limit is {MAX_BYTES:,}", "pass a smaller table")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [column.strip().lower() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise _error(path, f"is not a CSV table in UTF-8 ({fault})", "export it as CSV, UTF-8, with commas") from fault
    if not rows:
        raise _error(path, "has no rows", "write one line per volume below the header image,label,group")
    return rows, columns


def _class_indices(cells: list[str]) -> dict[str, int]:
    """Return class names to 0, 1, ...; integers in numerical order, names in alphabetical order."""
    names = {cell for cell in cells if cell}
    numeric = all(name.lstrip("-").isdigit() for name in names)
    return {name: index for index, name in enumerate(sorted(names, key=int if numeric else str))}


def _parse_label(
    path: Path, line: int, cell: str, root: Path, task: TaskType, labels: dict[str, int]
) -> Path | int | float | None:
    if not cell:
        return None
    if task == "segmentation":
        return root / cell
    if task == "classification":
        return labels[cell]
    try:
        return float(cell)
    except ValueError as fault:
        message = f"has the label {cell!r} in line {line}; a number is expected for regression"
        raise _error(path, message, "correct it") from fault


def _case_names(files: list[str]) -> list[str]:
    """Return file names without suffix, prefixed by their folders if two are equal (p1/t1.nii.gz, p2/t1.nii.gz)."""
    names = [volume_stem(file) for file in files]
    if len(set(names)) == len(names):
        return names
    return ["_".join([*Path(file).parent.parts, volume_stem(file)]).strip("_/") for file in files]


def _require_valid_names(path: Path, cases: list[Case]) -> None:
    names: set[str] = set()
    for case in cases:
        if not case.name.isprintable() or {"/", "\\"} & set(case.name):
            message = f"has the case name {case.name!r}, which is not a valid file name for predictions"
            raise _error(path, message, "use a name without / or \\")
        if case.name in names:
            message = f"has two rows for the case {case.name!r}"
            raise _error(path, message, "add a column name with a different name per row")
        names.add(case.name)


def _error(path: Path, message: str, fix: str) -> DataError:
    return Issue(str(path), "error", message, fix).as_error()


CSV_TABLE = Layout("csv", "a CSV table (columns image[, image2, ...], label, group)", _matches, _read)
