"""Point clouds from files: PLY, NumPy, XYZ, OFF, PCD and LAS, read to their end or refused."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DamagedFile, DataError, UnknownName

LABELS_BESIDE = ".labels.ply"
"""End of the name of a file that labels the points of another (ScanNet)."""
SMALL_ENOUGH, RATIO = 64 << 20, 200
"""What a compressed file may unpack to: these many bytes, and these many for each of its own."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points as a file gives them.

    Attributes:
        points: (N, 3) coordinates, float64, in the file's unit.
        colours: (N, 3) red, green, blue from 0 to 1; None where there are none.
        labels: (N,) class of every point; None where nobody says.
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
        """Bytes of all its columns."""
        columns = (self.points, self.colours, self.labels, *self.extra.values())
        return sum(column.nbytes for column in columns if column is not None)


def read_cloud(path: Path | str) -> Cloud:
    """The points of a file; its suffix says how to read it.

    Raises:
        UnknownName: for a kind of file nobody reads.
        DamagedFile: if it is cut short or not what its name says.
        DataError: if a coordinate is NaN or infinite, or there is no point.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    if path.suffix.lower() not in READERS:
        raise UnknownName("kind of point cloud", path.suffix, READERS)
    try:
        cloud = READERS[path.suffix.lower()](path)
    except DataError:
        raise
    except Exception as fault:  # what a parser raises at foreign bytes has no end
        raise DamagedFile(f"{path} cannot be read as a point cloud ({fault}); copy or export it again") from fault
    if not len(cloud.points):
        raise DataError(f"{path} holds no point; export it again")
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(cloud.points).all(axis=1))
    if broken.any():
        raise DataError(
            f"{path}: {int(broken.sum())} of {len(broken)} points have a coordinate that is NaN or infinite (the first "
            f"is point {int(broken.argmax())}); take them out of the file"
        )
    return cloud


def _read_ply(path: Path) -> Cloud:
    plyfile = _library("plyfile", path)
    _require_bytes(path, _ply_count(path))
    try:
        vertices = plyfile.PlyData.read(str(path))["vertex"].data
    except plyfile.PlyParseError as fault:
        raise DamagedFile(f"{path} is not a whole PLY file ({fault}); copy or export it again") from fault
    cloud = _from_columns({name: np.asarray(vertices[name]) for name in vertices.dtype.names}, path)
    beside = path.with_name(path.stem + LABELS_BESIDE)
    return _labelled(cloud, beside) if beside.is_file() else cloud


def _labelled(cloud: Cloud, beside: Path) -> Cloud:
    """A cloud with the labels of a second file: the colours there stand for classes, and are not read."""
    other = read_cloud(beside)
    if other.labels is None or other.points.shape != cloud.points.shape or (other.points != cloud.points).any():
        raise DataError(f"{beside} does not label the points of {cloud.path}; take the two from one export")
    return replace(cloud, labels=other.labels)


def _read_numpy(path: Path) -> Cloud:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return _from_table(_array(stream, path.stat().st_size, path), path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "points" not in members:
            raise DataError(f"{path} holds {', '.join(members)}; a cloud needs an array 'points' of (N, 3)")
        stated = sum(info.file_size for info in members.values())
        if stated > SMALL_ENOUGH + RATIO * path.stat().st_size:
            raise DataError(f"{path} states {stated} bytes behind {path.stat().st_size}; no cloud shrinks so much")
        table = {}
        for name, info in members.items():
            with archive.open(info) as stream:
                table[name] = _array(stream, info.file_size, path)
    cloud = _from_table(table.pop("points"), path)
    colours = table.pop("colours", table.pop("colors", None))
    labels = table.pop("labels", None)
    for name, column in (("colours", colours), ("labels", labels)):
        if column is not None and len(column) != len(cloud.points):
            raise DataError(f"{path}: {len(column)} {name} for {len(cloud.points)} points; export both together")
    extra = {name: column for name, column in table.items() if column.shape[:1] == cloud.points.shape[:1]}
    return Cloud(
        cloud.points,
        cloud.colours if colours is None else _unit(colours),
        None if labels is None else labels.astype(np.int64),
        {**cloud.extra, **extra},
        path,
    )


def _array(stream: IO[bytes], size: int, path: Path) -> NDArray[Any]:
    """An array in NumPy's format whose stated size is that of its bytes; memory is taken for no more than are there."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(stream, max_header_size=10_000)
    if kind.hasobject:
        raise DamagedFile(f"{path} holds Python objects, which are not read; save plain numbers")
    wanted = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or wanted > size:
        raise DamagedFile(f"{path} states an array of {shape} {kind}, {wanted} bytes, and holds {size}; copy it again")
    body = stream.read(wanted)
    if len(body) < wanted:
        raise DamagedFile(f"{path} is cut off: {wanted} bytes of an array stated, {len(body)} there; copy it again")
    return np.frombuffer(body, kind).reshape(shape, order="F" if fortran else "C")


def _read_text(path: Path) -> Cloud:
    return _from_table(np.loadtxt(path, dtype=np.float64, ndmin=2, delimiter="," if _has_commas(path) else None), path)


def _read_off(path: Path) -> Cloud:
    words = path.read_text(encoding="ascii").split()
    # some ModelNet40 files run the first two lines together: "OFF490 518 0"
    head, rest = words[0], words[1:]
    if not head.startswith("OFF"):
        raise DamagedFile(f"{path} does not begin with OFF; export it again")
    numbers = [head[3:], *rest] if head != "OFF" else rest
    count = int(numbers[0])
    _require_bytes(path, count)
    values = np.asarray(numbers[3 : 3 + 3 * count], dtype=np.float64)
    if len(values) < 3 * count:
        raise DamagedFile(f"{path} promises {count} vertices and holds {len(values) // 3}; copy it again")
    return Cloud(values.reshape(count, 3), path=path)


def _read_pcd(path: Path) -> Cloud:
    with path.open("rb") as stream:
        header: dict[str, list[str]] = {}
        for line in iter(stream.readline, b""):
            words = line.decode("ascii").split()
            if words and not words[0].startswith("#"):
                header[words[0].upper()] = words[1:]
            if words[:1] == ["DATA"]:
                break
        else:
            raise DamagedFile(f"{path} has no DATA line; copy or export it again")
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
        raise DamagedFile(f"{path} promises {total} points and holds {len(rows)}; copy it again")
    return _from_columns({name: rows[name] for name in layout.names or ()}, path)


def _read_las(path: Path) -> Cloud:
    laspy = _library("laspy", path)
    _require_records(path)
    try:
        with laspy.open(path) as reader:
            _require_bytes(path, reader.header.point_count)
        found = laspy.read(path)
    except laspy.errors.LaspyException as fault:
        raise DamagedFile(f"{path} is not a whole LAS file ({fault}); copy it again") from fault
    if len(found.points) < found.header.point_count:
        raise DamagedFile(f"{path} promises {found.header.point_count} points and holds {len(found.points)}")
    names = set(found.point_format.dimension_names)
    has_colour = {"red", "green", "blue"} <= names
    colours = np.stack([found.red, found.green, found.blue], 1) / 65535 if has_colour else None
    return Cloud(
        np.asarray(found.xyz, dtype=np.float64),
        None if colours is None else colours.astype(np.float32),
        np.asarray(found.classification, dtype=np.int64) if "classification" in names else None,
        {"intensity": np.asarray(found.intensity)} if "intensity" in names else {},
        path,
    )


def _require_records(path: Path) -> None:
    """Raises: DamagedFile, if a LAS header states more records than its file could hold; laspy would look for each."""
    with path.open("rb") as stream:
        head = stream.read(375)
    if len(head) < 227 or not head.startswith(b"LASF"):
        raise DamagedFile(f"{path} does not begin as a LAS file does; copy it again")
    short, size = int.from_bytes(head[100:104], "little"), path.stat().st_size
    extended = int.from_bytes(head[243:247], "little") if head[25] >= 4 else 0
    if 54 * short + 60 * extended > size:  # bytes of their headers alone
        raise DamagedFile(f"{path} states {short + extended} records in {size} bytes; copy it again")


def _require_bytes(path: Path, count: int) -> None:
    """Raises: DamagedFile, if a file states more points than it has bits (LAZ takes about thirty for one)."""
    size = path.stat().st_size
    if not 0 <= count <= 8 * size:
        raise DamagedFile(f"{path} states {count} points in {size} bytes; copy or export it again")


def _ply_count(path: Path) -> int:
    """The largest number of elements a PLY header states."""
    with path.open("rb") as stream:
        lines = [stream.readline(200) for _ in range(200)]
    stated = [line.split()[2] for line in lines if line.startswith(b"element") and len(line.split()) == 3]
    return max((int(number) for number in stated), default=0)


def _from_table(table: NDArray[Any], path: Path) -> Cloud:
    """x, y, z and, if there are six columns, colours (or normals, if some are below zero)."""
    if table.ndim != 2 or table.shape[1] < 3 or not np.issubdtype(table.dtype, np.number):
        raise DataError(f"{path} holds an array of {table.shape} {table.dtype}; rows of at least x y z are wanted")
    points, rest = table[:, :3].astype(np.float64), table[:, 3:]
    if rest.shape[1] < 3:
        return Cloud(points, path=path, extra={"columns": rest} if rest.shape[1] else {})
    if (rest[:, :3] < 0).any():
        return Cloud(points, path=path, extra={"normals": rest[:, :3]})
    return Cloud(points, _unit(rest[:, :3]), path=path)


def _from_columns(columns: dict[str, NDArray[Any]], path: Path) -> Cloud:
    missing = [axis for axis in "xyz" if axis not in columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)} (it has {', '.join(columns)}); export it again")
    points = np.stack([columns.pop(axis) for axis in "xyz"], 1).astype(np.float64)
    colours = None
    if {"red", "green", "blue"} <= columns.keys():
        colours = _unit(np.stack([columns.pop(name) for name in ("red", "green", "blue")], 1))
    labels = next((columns.pop(name) for name in ("label", "labels", "class") if name in columns), None)
    return Cloud(points, colours, None if labels is None else labels.astype(np.int64), columns, path)


def _unit(colours: NDArray[Any]) -> NDArray[np.float32]:
    """Colours from 0 to 1, whether they came as bytes or as shares."""
    top = 255 if np.issubdtype(colours.dtype, np.integer) or colours.max(initial=0) > 1 else 1
    return (colours / top).astype(np.float32)


def _library(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as fault:
        raise DataError(f"{path} is read with {name}: pip install 'dimlift[points]'") from fault


def _has_commas(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        return "," in stream.readline()


READERS: dict[str, Callable[[Path], Cloud]] = {
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
