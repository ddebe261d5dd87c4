"""Point clouds from PLY, NumPy, XYZ, OFF, PCD and LAS files, read completely or refused."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import CorruptFileError, DataError, UnknownNameError

LABEL_FILE_SUFFIX = ".labels.ply"
"""Suffix of a file that labels the points of another (ScanNet)."""
ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO = 64 << 20, 200
"""Bounds on the decompressed size of a file: a constant, plus a multiple of its size on disk."""


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


def read_point_cloud(path: Path | str) -> PointCloud:
    """Read a point cloud; the suffix determines the format.

    Raises:
        UnknownNameError: if the suffix is unknown.
        CorruptFileError: if the file is truncated or of another format than its suffix states.
        DataError: if a coordinate is NaN or infinite, or there is no point.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"the file {path} does not exist; check the path")
    if path.suffix.lower() not in POINT_CLOUD_READERS:
        raise UnknownNameError("point cloud format", path.suffix, POINT_CLOUD_READERS)
    try:
        cloud = POINT_CLOUD_READERS[path.suffix.lower()](path)
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


def _read_ply(path: Path) -> PointCloud:
    plyfile = _import_library("plyfile", path)
    _require_bytes(path, _ply_count(path))
    try:
        vertices = plyfile.PlyData.read(str(path))["vertex"].data
    except plyfile.PlyParseError as fault:
        raise CorruptFileError(f"{path} is not a complete PLY file ({fault}); copy or export it again") from fault
    cloud = _from_columns({name: np.asarray(vertices[name]) for name in vertices.dtype.names}, path)
    label_file = path.with_name(path.stem + LABEL_FILE_SUFFIX)
    return _with_labels(cloud, label_file) if label_file.is_file() else cloud


def _with_labels(cloud: PointCloud, label_file: Path) -> PointCloud:
    """Add the labels of a second file, whose colours only visualise the classes and are not used."""
    other = read_point_cloud(label_file)
    if other.labels is None or other.points.shape != cloud.points.shape or (other.points != cloud.points).any():
        raise DataError(f"{label_file} does not label the points of {cloud.path}; use two files of the same export")
    return replace(cloud, labels=other.labels)


def _read_numpy(path: Path) -> PointCloud:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return _from_table(_read_array(stream, path.stat().st_size, path), path)
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
    cloud = _from_table(table.pop("points"), path)
    colours = table.pop("colours", table.pop("colors", None))
    labels = table.pop("labels", None)
    for name, column in (("colours", colours), ("labels", labels)):
        if column is not None and len(column) != len(cloud.points):
            raise DataError(f"{path}: {len(column)} {name} for {len(cloud.points)} points; export both together")
    extra = {name: column for name, column in table.items() if column.shape[:1] == cloud.points.shape[:1]}
    return PointCloud(
        cloud.points,
        cloud.colours if colours is None else _to_unit_range(colours),
        None if labels is None else labels.astype(np.int64),
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


def _read_text(path: Path) -> PointCloud:
    return _from_table(np.loadtxt(path, dtype=np.float64, ndmin=2, delimiter="," if _has_commas(path) else None), path)


def _read_off(path: Path) -> PointCloud:
    words = path.read_text(encoding="ascii").split()
    # some ModelNet40 files lack the first line break: "OFF490 518 0"
    head, rest = words[0], words[1:]
    if not head.startswith("OFF"):
        raise CorruptFileError(f"{path} does not begin with OFF; export it again")
    numbers = [head[3:], *rest] if head != "OFF" else rest
    count = int(numbers[0])
    _require_bytes(path, count)
    values = np.asarray(numbers[3 : 3 + 3 * count], dtype=np.float64)
    if len(values) < 3 * count:
        raise CorruptFileError(f"{path} states {count} vertices and holds {len(values) // 3}; copy it again")
    return PointCloud(values.reshape(count, 3), path=path)


def _read_pcd(path: Path) -> PointCloud:
    with path.open("rb") as stream:
        header: dict[str, list[str]] = {}
        for line in iter(stream.readline, b""):
            words = line.decode("ascii").split()
            if words and not words[0].startswith("#"):
                header[words[0].upper()] = words[1:]
            if words[:1] == ["DATA"]:
                break
        else:
            raise CorruptFileError(f"{path} has no DATA line; copy or export it again")
        body = stream.read()
    kinds = {"F": "f", "U": "u", "I": "i"}
    counts = [int(count) for count in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
    columns = zip(header["FIELDS"], header["TYPE"], header["SIZE"], counts, strict=True)
    layout = np.dtype([(name, f"<{kinds[kind]}{size}", (n,) if n > 1 else ()) for name, kind, size, n in columns])
    total = int(header["POINTS"][0])
    _require_bytes(path, total)
    if header["DATA"][0] == "ascii":
        rows = np.atleast_1d(np.loadtxt(body.decode("ascii").splitlines(), dtype=layout))
    elif header["DATA"][0] == "binary":
        rows = np.frombuffer(body[: total * layout.itemsize], dtype=layout)
    else:
        raise DataError(f"{path} is a {header['DATA'][0]} PCD; save it as ascii or binary")
    if len(rows) < total:
        raise CorruptFileError(f"{path} states {total} points and holds {len(rows)}; copy it again")
    return _from_columns({name: rows[name] for name in layout.names or ()}, path)


def _read_las(path: Path) -> PointCloud:
    laspy = _import_library("laspy", path)
    _require_las_records(path)
    try:
        with laspy.open(path) as reader:
            _require_bytes(path, reader.header.point_count)
        las = laspy.read(path)
    except laspy.errors.LaspyException as fault:
        raise CorruptFileError(f"{path} is not a complete LAS file ({fault}); copy it again") from fault
    if len(las.points) < las.header.point_count:
        raise CorruptFileError(
            f"{path} states {las.header.point_count} points and holds {len(las.points)}; copy it again"
        )
    names = set(las.point_format.dimension_names)
    has_colour = {"red", "green", "blue"} <= names
    colours = np.stack([las.red, las.green, las.blue], 1) / 65535 if has_colour else None
    return PointCloud(
        np.asarray(las.xyz, dtype=np.float64),
        None if colours is None else colours.astype(np.float32),
        np.asarray(las.classification, dtype=np.int64) if "classification" in names else None,
        {"intensity": np.asarray(las.intensity)} if "intensity" in names else {},
        path,
    )


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


def _from_table(table: NDArray[Any], path: Path) -> PointCloud:
    """Split rows into x, y, z and, with six columns, colours (or normals if some values are negative)."""
    if table.ndim != 2 or table.shape[1] < 3 or not np.issubdtype(table.dtype, np.number):
        raise DataError(f"{path} holds an array of {table.shape} {table.dtype}; rows of at least x y z are expected")
    points, rest = table[:, :3].astype(np.float64), table[:, 3:]
    if rest.shape[1] < 3:
        return PointCloud(points, path=path, extra={"columns": rest} if rest.shape[1] else {})
    if (rest[:, :3] < 0).any():
        return PointCloud(points, path=path, extra={"normals": rest[:, :3]})
    return PointCloud(points, _to_unit_range(rest[:, :3]), path=path)


def _from_columns(columns: dict[str, NDArray[Any]], path: Path) -> PointCloud:
    missing = [axis for axis in "xyz" if axis not in columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)} (it has {', '.join(columns)}); export it again")
    points = np.stack([columns.pop(axis) for axis in "xyz"], 1).astype(np.float64)
    colours = None
    if {"red", "green", "blue"} <= columns.keys():
        colours = _to_unit_range(np.stack([columns.pop(name) for name in ("red", "green", "blue")], 1))
    labels = next((columns.pop(name) for name in ("label", "labels", "class") if name in columns), None)
    return PointCloud(points, colours, None if labels is None else labels.astype(np.int64), columns, path)


def _to_unit_range(colours: NDArray[Any]) -> NDArray[np.float32]:
    """Scale colours to [0, 1], given as bytes or as fractions."""
    top = 255 if np.issubdtype(colours.dtype, np.integer) or colours.max(initial=0) > 1 else 1
    return (colours / top).astype(np.float32)


def _import_library(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as fault:
        raise DataError(f"{path} is read with {name}: pip install 'dimlift[points]'") from fault


def _has_commas(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        return "," in stream.readline()


POINT_CLOUD_READERS: dict[str, Callable[[Path], PointCloud]] = {
    ".ply": _read_ply,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".xyz": _read_text,
    ".txt": _read_text,
    ".off": _read_off,
    ".pcd": _read_pcd,
    ".las": _read_las,
    ".laz": _read_las,
}
