"""Point clouds in NumPy files, whose stated sizes are checked before memory is allocated."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud_columns import PointCloud, scale_colours, table_columns
from dimlift.data.label_values import to_label_values
from dimlift.errors import CorruptFileError, DataError

ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO = 64 << 20, 200
"""Bounds on the decompressed size of a file: a constant, plus a multiple of its size on disk."""


def read_numpy(path: Path, names: Sequence[str] = ()) -> PointCloud:
    """Read an .npy of points, or an .npz with `points` and optionally `colours`, `labels` and further columns.

    Args:
        path: the file.
        names: of the columns of `points`, if they are more than three.

    Raises:
        CorruptFileError: if it is truncated, states an implausible size, or holds Python objects.
        DataError: if it holds no points, or as `table_columns`, `scale_colours` and `to_label_values`.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return table_columns(_read_array(stream, path.stat().st_size, path), path, names)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "points" not in members:
            raise DataError(f"{path} holds {', '.join(members)}; an array 'points' of shape (N, 3) is expected")
        stated = sum(info.file_size for info in members.values())
        if stated > ALWAYS_ALLOWED_BYTES + MAX_COMPRESSION_RATIO * path.stat().st_size:
            raise DataError(
                f"{path} has {path.stat().st_size} bytes and states {stated} bytes of data, which is not plausible; "
                "export it again"
            )
        table = {}
        for name, info in members.items():
            with archive.open(info) as stream:
                table[name] = _read_array(stream, info.file_size, path)
    cloud = table_columns(table.pop("points"), path, names)
    count = len(cloud.points)
    colours = table.pop("colours", table.pop("colors", None))
    labels = table.pop("labels", None)
    for name, column in (("colours", colours), ("labels", labels)):
        if column is not None and column.shape[:1] != (count,):
            raise DataError(f"{path}: {name} of shape {column.shape} for {count} points; export both together")
    extra = {name: column for name, column in table.items() if column.shape[:1] == (count,)}
    if labels is not None and labels.ndim == 2:
        labels = labels.squeeze(1) if labels.shape[1] == 1 else labels
    return PointCloud(
        cloud.points,
        cloud.colours if colours is None else scale_colours(colours, count, path),
        cloud.labels if labels is None else to_label_values(labels, path, (count,)).astype(np.int64),
        {**cloud.extra, **extra},
        path,
    )


def _read_array(stream: IO[bytes], size: int, path: Path) -> NDArray[Any]:
    """Read an array in NumPy's format whose stated size is checked before memory is allocated."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream, max_header_size=10_000)
    if dtype.hasobject:
        raise CorruptFileError(f"{path} holds Python objects, which are not read; save plain numbers")
    stated = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or stated > size:
        raise CorruptFileError(
            f"{path} states an array of {shape} {dtype}, {stated} bytes, but holds {size}; copy it again"
        )
    body = stream.read(stated)
    if len(body) < stated:
        raise CorruptFileError(f"{path} is truncated: an array has {len(body)} of {stated} stated bytes; copy it again")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
