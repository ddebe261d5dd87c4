"""Point clouds from PLY, NumPy, XYZ, OFF, PCD and LAS files, read completely or refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud_columns import PointCloud, named_columns, scale_colours
from dimlift.data.io.point_cloud_numpy import read_numpy
from dimlift.data.io.point_cloud_off import read_off
from dimlift.data.io.point_cloud_pcd import read_pcd
from dimlift.data.io.point_cloud_text import read_text_table
from dimlift.data.label_values import to_label_values
from dimlift.errors import CorruptFileError, DataError, UnknownNameError

__all__ = ["LABEL_FILE_SUFFIX", "POINT_CLOUD_READERS", "PointCloud", "read_point_cloud"]

LABEL_FILE_SUFFIX = ".labels.ply"
"""Suffix of a file that labels the points of another (ScanNet)."""


def read_point_cloud(path: Path | str, columns: Sequence[str] = ()) -> PointCloud:
    """Read a point cloud; the suffix determines the format.

    Args:
        path: the file.
        columns: names of the columns of a text file or array of more than three that does not name them
            (`point_clouds.columns`).

    Raises:
        UnknownNameError: if the suffix is unknown.
        CorruptFileError: if the file is truncated or of another format than its suffix states.
        DataError: if a coordinate is NaN or infinite, there is no point, columns have no names, labels are not integers
            (`to_label_values`), or colours are out of range (`scale_colours`).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"the file {path} does not exist; check the path")
    if path.suffix.lower() not in POINT_CLOUD_READERS:
        raise UnknownNameError("point cloud format", path.suffix, POINT_CLOUD_READERS)
    try:
        cloud = POINT_CLOUD_READERS[path.suffix.lower()](path, columns)
    except DataError:
        raise
    except Exception as fault:  # parsers raise errors of any kind for foreign bytes
        raise CorruptFileError(f"{path} cannot be read as a point cloud ({fault}); copy or export it again") from fault
    if not len(cloud.points):
        raise DataError(f"{path} holds no point; export it again")
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(cloud.points).all(axis=1))
    if broken.any():
        raise DataError(
            f"{path}: {int(broken.sum())} of {len(broken)} points have a coordinate that is NaN or infinite (the first "
            f"is point {int(broken.argmax())}); remove them from the file"
        )
    return cloud


def _read_ply(path: Path, columns: Sequence[str]) -> PointCloud:
    plyfile = _import_library("plyfile", path)
    _require_bytes(path, _ply_count(path))
    try:
        vertices = plyfile.PlyData.read(str(path))["vertex"].data
    except plyfile.PlyParseError as fault:
        raise CorruptFileError(f"{path} is not a complete PLY file ({fault}); copy or export it again") from fault
    cloud = named_columns({name: np.asarray(vertices[name]) for name in vertices.dtype.names}, path)
    label_file = path.with_name(path.stem + LABEL_FILE_SUFFIX)
    return _with_labels(cloud, label_file) if label_file.is_file() else cloud


def _with_labels(cloud: PointCloud, label_file: Path) -> PointCloud:
    """Add the labels of a second file, whose colours only visualise the classes and are not used."""
    other = read_point_cloud(label_file)
    if other.labels is None or other.points.shape != cloud.points.shape or (other.points != cloud.points).any():
        raise DataError(f"{label_file} does not label the points of {cloud.path}; use two files of the same export")
    return replace(cloud, labels=other.labels)


def _read_las(path: Path, columns: Sequence[str]) -> PointCloud:
    laspy = _import_library("laspy", path)
    _require_las_records(path)
    try:
        with laspy.open(path) as reader:
            _require_bytes(path, reader.header.point_count)
        las = laspy.read(path)
    except laspy.errors.LaspyException as fault:
        raise CorruptFileError(f"{path} is not a complete LAS file ({fault}); copy it again") from fault
    count = len(las.points)
    if count < las.header.point_count:
        raise CorruptFileError(f"{path} states {las.header.point_count} points and holds {count}; copy it again")
    names, colours, labels = set(las.point_format.dimension_names), None, None
    if {"red", "green", "blue"} <= names:
        colours = scale_colours(np.stack([las.red, las.green, las.blue], 1), count, path)
    if "classification" in names:
        labels = to_label_values(np.asarray(las.classification), path, (count,)).astype(np.int64)
    further = [*({"intensity"} & names), *las.point_format.extra_dimension_names]
    extra = {name: np.asarray(las[name]) for name in further}
    return PointCloud(np.asarray(las.xyz, dtype=np.float64), colours, labels, extra, path)


def _require_las_records(path: Path) -> None:
    """Raise CorruptFileError if a LAS header states more records than its file can hold; laspy would seek each."""
    with path.open("rb") as stream:
        head = stream.read(375)
    if len(head) < 227 or not head.startswith(b"LASF"):
        raise CorruptFileError(f"{path} does not begin with a LAS header; copy it again")
    records, size = int.from_bytes(head[100:104], "little"), path.stat().st_size
    extended = int.from_bytes(head[243:247], "little") if head[25] >= 4 else 0
    if 54 * records + 60 * extended > size:  # the sizes of their headers alone
        raise CorruptFileError(f"{path} states {records + extended} records in {size} bytes; copy it again")


def _require_bytes(path: Path, count: int) -> None:
    """Raise CorruptFileError if a file states more points than it has bits (LAZ needs about thirty per point)."""
    size = path.stat().st_size
    if not 0 <= count <= 8 * size:
        raise CorruptFileError(f"{path} states {count} points in {size} bytes; copy or export it again")


def _ply_count(path: Path) -> int:
    """Return the largest number of elements stated by a PLY header."""
    with path.open("rb") as stream:
        lines = [stream.readline(200) for _ in range(200)]
    stated = [line.split()[2] for line in lines if line.startswith(b"element") and len(line.split()) == 3]
    return max((int(number) for number in stated), default=0)


def _import_library(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as fault:
        raise DataError(f"{path} is read with {name}: pip install 'dimlift[points]'") from fault


def _read_pcd(path: Path, columns: Sequence[str]) -> PointCloud:
    return read_pcd(path)


POINT_CLOUD_READERS: dict[str, Callable[[Path, Sequence[str]], PointCloud]] = {
    ".ply": _read_ply,
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".xyz": read_text_table,
    ".txt": read_text_table,
    ".off": read_off,
    ".pcd": _read_pcd,
    ".las": _read_las,
    ".laz": _read_las,
}
"""Functions by suffix; formats whose columns have names ignore those of the user."""
