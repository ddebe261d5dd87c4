"""Point clouds in text: rows of numbers, with the names of the columns in a first line or given by the user."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from dimlift.data.io.point_cloud_columns import PointCloud, table_columns
from dimlift.errors import DataError

_COMMENTS = ("#", "//")
_MAX_LINE = 1 << 16


def read_text_table(path: Path, names: Sequence[str] = ()) -> PointCloud:
    """Read numbers separated by blanks, commas or semicolons.

    A comment (# or //) or a first line of words that names x, y and z names the columns; `names` are for other files.

    Raises:
        DataError: as `table_columns`.
    """
    with path.open(encoding="utf-8-sig") as stream:
        stated, first = _read_head(stream, path)
        if not first:
            return PointCloud(np.zeros((0, 3)), path=path)
        delimiter = next((mark for mark in ";," if mark in first), None)
        table = np.loadtxt(stream, dtype=np.float64, ndmin=2, delimiter=delimiter)
    return table_columns(table, path, names, stated if len(stated) == table.shape[1] else ())


def _read_head(stream: TextIO, path: Path) -> tuple[list[str], str]:
    """Return the stated names and the first row of numbers, at which the stream is then."""
    stated: list[str] = []
    while True:
        at = stream.tell()
        line = stream.readline(_MAX_LINE)
        text = line.strip()
        if not line or (text and not text.startswith(_COMMENTS) and all(map(_is_number, _words(text)))):
            stream.seek(at)
            return stated, text
        words = _words(text.lstrip("#/"))
        if {"x", "y", "z"} <= {word.casefold() for word in words}:
            stated = words
        elif text and not text.startswith(_COMMENTS):
            raise DataError(
                f"{path} has a line that is neither numbers nor names of columns ({text[:60]!r}); remove it, or name "
                "x, y and z in it"
            )


def _words(text: str) -> list[str]:
    return [word.strip("\"'") for word in re.split(r"[\s,;]+", text) if word]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
