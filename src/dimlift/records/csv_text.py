"""CSV files: cells of text that a spreadsheet would execute as a formula are marked as text; no control characters."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from dimlift.records.printable_text import printable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t")


def to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV. Text that starts a formula receives an apostrophe, numbers stay as they are."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)  # a carriage return would also end the row
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
