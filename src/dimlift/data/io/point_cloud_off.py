"""Vertices of OFF meshes: OFF, and COFF, NOFF, STOFF and their combinations, whose first word names the columns."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud_columns import UNUSED_COLUMN, PointCloud, table_columns
from dimlift.errors import CorruptFileError, DataError

_HEAD = re.compile(r"((?:ST|C|N)*)OFF(?=\d|\s|$)")


def read_off(path: Path, names: Sequence[str] = ()) -> PointCloud:
    """Read the vertices; comments and blank lines are skipped.

    Args:
        path: the file.
        names: of the columns of a file whose rows have more numbers than its first word states.

    Raises:
        CorruptFileError: if it does not begin with OFF, or ends early.
        DataError: if rows have more numbers than the first word states, and no names.
    """
    lines = _lines(path)
    head = next(lines, "")
    match = _HEAD.match(head)
    if match is None:
        raise CorruptFileError(f"{path} does not begin with OFF, COFF, NOFF or STOFF; export it again")
    rest = head[match.end() :].split()  # some ModelNet40 files lack the first line break: "OFF490 518 0"
    if rest[:1] == ["BINARY"]:
        raise DataError(f"{path} is a binary OFF; save it as text")
    count = int((rest or next(lines, "").split() or ["0"])[0])
    size = path.stat().st_size
    if not 0 <= count <= size:
        raise CorruptFileError(f"{path} states {count} vertices in {size} bytes; copy or export it again")
    table = _read_rows(list(lines), count, path, plain=not match[1])
    return table_columns(table, path, names, _stated(match[1], table.shape[1]))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as stream:
        for line in stream:
            if text := line.partition("#")[0].strip():
                yield text


def _stated(prefix: str, width: int) -> list[str]:
    """Return the columns that the first word states, if they are as many as a row has; colours may have an opacity."""
    rgb = ["red", "green", "blue"]
    before = ["x", "y", "z"] + (["nx", "ny", "nz"] if "N" in prefix else [])
    for colours in [rgb, [*rgb, UNUSED_COLUMN]] if "C" in prefix else [[]]:
        columns = before + colours + (["u", "v"] if "ST" in prefix else [])
        if len(columns) == width:
            return columns
    return []


def _read_rows(lines: list[str], count: int, path: Path, plain: bool) -> NDArray[Any]:
    """Return the vertices, one per line; in a plain OFF whose lines are broken elsewhere, each has three numbers."""
    try:
        table = np.loadtxt(lines[:count], dtype=np.float64, ndmin=2) if count else np.zeros((0, 3))
        if len(table) == count:
            return table
    except ValueError:
        if not plain:
            raise
    words = list(itertools.islice(itertools.chain.from_iterable(map(str.split, lines)), 3 * count))
    if not plain or len(words) < 3 * count:
        raise CorruptFileError(f"{path} states {count} vertices and holds {len(words) // 3}; copy it again")
    return np.asarray(words, dtype=np.float64).reshape(count, 3)
