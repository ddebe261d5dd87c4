"""Rows of a CSV table as spreadsheets write it: commas, semicolons or tabs, CRLF, a byte order mark."""

import csv
import io
import re
from pathlib import Path, PureWindowsPath

from dimlift.data.issue import Issue
from dimlift.errors import DataError

MAX_BYTES = 32 << 20
"""Enough for a hundred thousand rows."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_MAX_NAME_BYTES = 255
"""Longest file name of common file systems."""

_STATED_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def read_table_rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows by column, and the columns in lower case. The separator is that of the header.

    Raises:
        DataError: if it is not a table, or a line has more cells than the header.
    """
    if path.stat().st_size > MAX_BYTES:
        raise _error(path, f"has {path.stat().st_size:,} bytes, the limit is {MAX_BYTES:,}", "pass a smaller table")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            text = stream.read()
        separator, text, skipped = _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        columns = [column.strip().lower() for column in next(reader, [])]
        rows = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _require_width(path, reader.line_num + skipped, cells, columns, separator)
                rows.append({key: _cell(cells, index, separator) for index, key in enumerate(columns) if key})
    except (UnicodeDecodeError, csv.Error) as fault:
        raise _error(path, f"is not a CSV table in UTF-8 ({fault})", "export it as CSV, UTF-8, with commas") from fault
    if repeated := next((column for column in columns if column and columns.count(column) > 1), None):
        raise _error(path, f"has two columns {repeated!r}", "rename one of them (image, image2, ... are channels)")
    if not rows:
        raise _error(path, "has no rows", "write one line per case below the header")
    return rows, [column for column in columns if column]


def resolve_cell(path: Path, cell: str, root: Path) -> Path:
    """Return the file a cell names; paths written on Windows (`scans\\a.nii.gz`) are read where they are relative.

    Raises:
        DataError: for a path on a Windows drive or server, or that no file can have.
    """
    if not _is_possible(cell):
        message = f"has a path that no file can have, {cell[:40]!r} ({len(cell)} characters)"
        raise _error(path, message, "correct it")
    if "\\" not in cell and not re.match(r"[A-Za-z]:", cell):
        return root / cell
    if (root / cell).exists():
        return root / cell
    windows = PureWindowsPath(cell)
    if windows.drive or windows.root:
        message = f"has the Windows path {cell!r}, which exists on the computer it was written on only"
        raise _error(path, message, "write paths relative to the table, as in images/case1.nii.gz")
    return root / windows.as_posix()


def _is_possible(cell: str) -> bool:
    try:
        return "\0" not in cell and all(len(part.encode()) <= _MAX_NAME_BYTES for part in cell.split("/"))
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False


def _separator(text: str) -> tuple[str, str, int]:
    """Return the separator, the text from its header on, and the number of lines before."""
    first, _, rest = text.partition("\n")
    if stated := _STATED_SEPARATOR.fullmatch(first):
        return stated[1], rest, 1
    header = re.sub(r'"[^"]*"', "", first)
    return max(SEPARATORS, key=lambda mark: (header.count(mark), mark == ",")), text, 0


def _require_width(path: Path, line: int, cells: list[str], columns: list[str], separator: str) -> None:
    if extra := [cell for cell in cells[len(columns) :] if cell.strip()]:
        marks = SEPARATORS.get(separator, repr(separator))
        message = (
            f"has {len(columns) + len(extra)} cells in line {line}, but {len(columns)} columns (separated by {marks})"
        )
        raise _error(path, message, 'put cells that hold a separator into quotation marks ("a,b.nii.gz")')


def _cell(cells: list[str], index: int, separator: str) -> str:
    cell = cells[index].strip() if index < len(cells) else ""
    if separator != "," and _DECIMAL_COMMA.fullmatch(cell):  # spreadsheets that separate by semicolons write 1,5
        return cell.replace(",", ".")
    return cell


def _error(path: Path, message: str, fix: str) -> DataError:
    return Issue(str(path), "error", message, fix).as_error()
