"""A CSV table with the columns image (and image2, ... for further channels), label, group, and optionally name.

Labels are masks, class names or numbers. Paths are relative to the table. `group` is the patient; without it every row
is its own group.
"""

import difflib
import re
from pathlib import Path, PureWindowsPath

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.case_names import require_valid_names
from dimlift.data.datasets.csv_rows import read_table_rows, resolve_cell
from dimlift.data.datasets.dataset_json import find_label_values
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.table_labels import class_indices, infer_cell_task, parse_label
from dimlift.data.io.readers import infer_channel_names, volume_stem
from dimlift.data.issue import Issue
from dimlift.errors import DataError

_IMAGE = re.compile(r"^image_?(\d*)$")


def _matches(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".csv"


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return one case per row. Without a task, `infer_cell_task` decides between classes and numbers."""
    rows, columns = read_table_rows(path)
    images = [column for column in columns if _IMAGE.match(column)]
    if not images:
        near = difflib.get_close_matches("image", columns, n=1, cutoff=0.5)
        hint = f" ({near[0]!r} is similar)" if near else ""
        raise _error(path, f"has the columns {', '.join(columns)}, but no column image{hint}", "rename the column")
    images.sort(key=lambda column: int(_IMAGE.match(column)[1] or -1))  # type: ignore[index]
    cells = [row.get("label", "") for row in rows]
    task = infer_cell_task(cells, task)
    labels = class_indices(cells) if task == "classification" else {}
    root = path.resolve().parent
    names = _case_names([next((row[column] for column in images if row[column]), "") for row in rows])
    cases = []
    for number, (row, cell) in enumerate(zip(rows, cells, strict=True), start=2):
        if not any(row[column] for column in images):
            raise _error(path, f"has no file in an image column of line {number}", "fill it in or remove the line")
        # an empty cell becomes a path that does not exist; whether a channel may be missing is decided on reading
        files = tuple(
            resolve_cell(path, row[column] or f"{column} of line {number} (empty)", root) for column in images
        )
        name = row.get("name") or names[number - 2]
        label = parse_label(path, f"line {number}", cell, root, task, labels)
        cases.append(Case(name, files, label, row.get("group") or name))
    require_valid_names(path, cases, "add a column name with a different name per row")
    if task == "segmentation":
        masks = [case.label for case in cases if isinstance(case.label, Path)]
        labels = {str(value): value for value in find_label_values(masks)}
    channels = tuple(images) if len(images) > 1 else infer_channel_names(case.images[0] for case in cases)
    return Dataset(path.stem, root, tuple(cases), channels, labels, task)


def _case_names(files: list[str]) -> list[str]:
    """Return file names without suffix, prefixed by their folders if two are equal (p1/t1.nii.gz, p2/t1.nii.gz)."""
    paths = [Path(file if "/" in file else PureWindowsPath(file).as_posix()) for file in files]
    names = [volume_stem(path) for path in paths]
    if len(set(names)) == len(names):
        return names
    return ["_".join([*path.parent.parts, volume_stem(path)]).strip("_/") for path in paths]


def _error(path: Path, message: str, fix: str) -> DataError:
    return Issue(str(path), "error", message, fix).as_error()


CSV_TABLE = Layout(
    "csv", "a CSV table (columns image[, image2, ...], label, group)", _matches, _read, evidence="a table (.csv)"
)
