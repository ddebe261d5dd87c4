"""Columns of point clouds, named by their file or by the user; what a column holds never follows from its position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.label_values import to_label_values
from dimlift.errors import DataError

TEXT_SUFFIXES = (".xyz", ".txt")
"""Suffixes of text files with one point in each line."""
UNUSED_COLUMN = "_"
"""Name of columns that are not read, as in PCD files."""

_COLOURS = (("red", "green", "blue"), ("r", "g", "b"))
_LABELS = ("label", "labels", "class", "classification", "scalar_label", "scalar_classification")
_EXAMPLE = "x y z intensity r g b label"
_FRACTION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class PointCloud:
    """The points of a file.

    Attributes:
        points: (N, 3) coordinates, float64, in the unit of the file.
        colours: (N, 3) RGB from 0 to 1, or None.
        labels: (N,) class of every point, or None.
        extra: other columns by name, (N,) or (N, k).
        path: the file.
    """

    points: NDArray[np.float64]
    colours: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)
    path: Path = Path()

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        columns = (self.points, self.colours, self.labels, *self.extra.values())
        return sum(column.nbytes for column in columns if column is not None)


def named_columns(named: Mapping[str, NDArray[Any]], path: Path) -> PointCloud:
    """Return a point cloud from columns (N,) by name, in capitals or not.

    x y z are the coordinates, red green blue or r g b the colours, label, labels, class or classification the labels.

    Raises:
        DataError: if a coordinate is missing, or as `scale_colours` and `to_label_values`.
    """
    columns = {name: column for name, column in named.items() if name != UNUSED_COLUMN}
    exact = {name.casefold(): name for name in reversed(columns)} | {name: name for name in columns}
    missing = [axis for axis in "xyz" if axis not in exact]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)} (it has {', '.join(columns)}); export it again")
    points = np.stack([columns.pop(exact[axis]) for axis in "xyz"], 1).astype(np.float64)
    colours = labels = None
    if rgb := next((names for names in _COLOURS if exact.keys() >= set(names)), None):
        colours = scale_colours(np.stack([columns.pop(exact[name]) for name in rgb], 1), len(points), path)
    if label := next((name for name in _LABELS if name in exact), None):
        labels = to_label_values(columns.pop(exact[label]), path, (len(points),)).astype(np.int64)
    return PointCloud(points, colours, labels, columns, path)


def table_columns(table: NDArray[Any], path: Path, names: Sequence[str] = (), stated: Sequence[str] = ()) -> PointCloud:
    """Return a point cloud from rows (N, k), or from a structured array, whose fields have names.

    Args:
        table: rows of points.
        path: the file.
        names: of the columns, as the user states them; for a file that states none.
        stated: of the columns, as the file states them.

    Raises:
        DataError: if there are more than the three columns x y z without names, if `names` are not as many as the
            columns, or if both state different names.
    """
    if table.dtype.names:
        return named_columns({name: table[name] for name in table.dtype.names}, path)
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "iuf":
        raise DataError(f"{path} holds an array of {table.shape} {table.dtype}; rows of at least x y z are expected")
    width = table.shape[1]
    row = " ".join(f"{value:g}" for value in table[0]) if len(table) else "none"
    if len(stated) == len(names) and [_role(name) for name in stated] != [_role(name) for name in names]:
        raise DataError(
            f"{path} names its columns {' '.join(stated)}, but point_clouds.columns is {' '.join(names)}; correct one"
        )
    chosen = stated or (names if len(names) == width or width > 3 else "xyz")
    if not chosen:
        line = f", or name them in a first line: # {_EXAMPLE}" if path.suffix.lower() in TEXT_SUFFIXES else ""
        raise DataError(
            f"{path} has {width} columns without names (first row: {row}); set point_clouds.columns (--columns), for "
            f'example "{_EXAMPLE}" ({UNUSED_COLUMN} for a column that is not used){line}'
        )
    if len(chosen) != width:
        raise DataError(
            f"{path} has {width} columns (first row: {row}), but {len(chosen)} names ({' '.join(chosen)}); name each "
            f"column in point_clouds.columns, {UNUSED_COLUMN} if it is not used"
        )
    if repeated := sorted({name for name in chosen if name != UNUSED_COLUMN and list(chosen).count(name) > 1}):
        raise DataError(f"{path} has {', '.join(repeated)} twice among its columns ({' '.join(chosen)}); rename one")
    return named_columns({name: table[:, i] for i, name in enumerate(chosen) if name != UNUSED_COLUMN}, path)


def scale_colours(values: NDArray[Any], count: int, path: Path) -> NDArray[np.float32]:
    """Return colours (N, 3), or (N, 4) with opacity, as RGB from 0 to 1, by their type and range.

    Bytes are divided by 255; other integers by 255 if none is larger, else by 65535; so are fractions, unless none is
    above 1.

    Raises:
        DataError: for another shape, values that are not finite, negative or above 65535.
    """
    if values.shape not in ((count, 3), (count, 4)) or values.dtype.kind not in "iufb":
        raise DataError(f"{path} has colours of {values.shape} {values.dtype}; ({count}, 3) numbers are expected")
    rgb = values[:, :3]
    low, high = (float(rgb.min()), float(rgb.max())) if rgb.size else (0.0, 0.0)
    if not (low >= 0 and high <= 65535):
        raise DataError(
            f"{path} has colours from {low:g} to {high:g}; expected: fractions from 0 to 1, or integers to 255 or "
            "65535; export it again, or give the columns other names"
        )
    if values.dtype.kind == "f" and high <= 1 + _FRACTION_TOLERANCE:
        return rgb.clip(0, 1).astype(np.float32)
    return (rgb / (255 if high <= 255 else 65535)).astype(np.float32)


def _role(name: str) -> str:
    short = dict(zip(_COLOURS[0], _COLOURS[1], strict=True))
    folded = name.casefold()
    return "label" if folded in _LABELS else short.get(folded, folded)
