"""A CSV table: columns image (image2, ... for further channels), label, group.

Labels are masks, class names or numbers. Paths are relative to the table. `group` names the patient; without it every
row is its own. A column `name` is optional.
"""

import csv
import difflib
import re
from pathlib import Path

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.image_label_folders import label_values
from dimlift.data.io.readers import channel_names, stem_of, suffix_of
from dimlift.data.issue import Finding
from dimlift.errors import DataError

WANTED = "a CSV table (columns image[, image2, ...], label, group)"

LARGEST = 32 << 20
"""Bytes: enough for a hundred thousand rows."""

_IMAGE = re.compile(r"^image_?(\d*)$")


def matches(path: Path) -> bool:
    """A file whose name ends in .csv."""
    return path.is_file() and path.suffix.lower() == ".csv"


def read(path: Path, task: Task) -> Dataset:
    """One case a row. Masks make it segmentation, anything else classification unless the task is regression."""
    rows, columns = _rows(path)
    images = [column for column in columns if _IMAGE.match(column)]
    if not images:
        near = difflib.get_close_matches("image", columns, n=1, cutoff=0.5)
        hint = f"; is {near[0]!r} meant" if near else ""
        raise _wrong(path, f"has the columns {', '.join(columns)}, but none called image{hint}", "rename the column")
    images.sort(key=lambda column: int(_IMAGE.match(column)[1] or -1))  # type: ignore[index]
    answers = [row.get("label", "") for row in rows]
    masks = any(suffix_of(answer) for answer in answers)
    labels: dict[str, int] = {}
    if not masks and task == "segmentation":
        task = "classification"
    if not masks and task == "classification":
        labels = _classes(answers)
    root = path.resolve().parent
    names = _names([next((row[column] for column in images if row[column]), "") for row in rows])
    cases = []
    for number, row in enumerate(rows, start=2):
        if not any(row[column] for column in images):
            raise _wrong(path, f"has no file in an image column of line {number}", "fill it in or drop the line")
        # a path at which nothing lies: whether a channel may be missing is decided where it is read
        files = tuple(root / (row[column] or f"{column} of line {number} (empty)") for column in images)
        name = row.get("name") or names[number - 2]
        cases.append(
            Case(name, files, _answer(path, number, row.get("label", ""), root, task, labels), row.get("group") or name)
        )
    _require_names(path, cases)
    if masks:
        files_with_labels = [case.label for case in cases if isinstance(case.label, Path)]
        labels = {str(value): value for value in label_values(files_with_labels)}
    channels = tuple(images) if len(images) > 1 else channel_names(case.images[0] for case in cases)
    return Dataset(path.stem, root, tuple(cases), channels, labels, task)


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    if path.stat().st_size > LARGEST:
        raise _wrong(path, f"has {path.stat().st_size:,} bytes, at most {LARGEST:,} are read", "is it a table at all?")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [column.strip().lower() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise _wrong(path, f"is no CSV table in UTF-8 ({fault})", "export it as CSV, UTF-8, with commas") from fault
    if not rows:
        raise _wrong(path, "has no rows", "write one line per volume below the header image,label,group")
    return rows, columns


def _classes(answers: list[str]) -> dict[str, int]:
    """Class names to 0, 1, ...; whole numbers in their own order, names in the alphabet's."""
    names = {answer for answer in answers if answer}
    numeric = all(name.lstrip("-").isdigit() for name in names)
    return {name: index for index, name in enumerate(sorted(names, key=int if numeric else str))}


def _answer(
    path: Path, line: int, answer: str, root: Path, task: Task, labels: dict[str, int]
) -> Path | int | float | None:
    if not answer:
        return None
    if task == "segmentation":
        return root / answer
    if task == "classification":
        return labels[answer]
    try:
        return float(answer)
    except ValueError as fault:
        raise _wrong(
            path, f"has the label {answer!r} in line {line}; regression wants a number", "correct it"
        ) from fault


def _names(files: list[str]) -> list[str]:
    """File names without suffix; where two rows share one (p1/t1.nii.gz, p2/t1.nii.gz), with their folders."""
    names = [stem_of(file) for file in files]
    if len(set(names)) == len(names):
        return names
    return ["_".join([*Path(file).parent.parts, stem_of(file)]).strip("_/") for file in files]


def _require_names(path: Path, cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if not case.name.isprintable() or {"/", "\\"} & set(case.name):
            raise _wrong(
                path, f"has the case name {case.name!r}; predictions are saved under it", "use a name without / or \\"
            )
        if case.name in seen:
            raise _wrong(
                path, f"has two rows for the case {case.name!r}", "add a column name with a different name per row"
            )
        seen.add(case.name)


def _wrong(path: Path, finding: str, remedy: str) -> DataError:
    return Finding(str(path), "error", finding, remedy).as_error()
