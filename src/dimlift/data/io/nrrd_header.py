"""The header of an NRRD file: one strict parser; what it does not know, or finds twice, it refuses."""

import itertools
import re
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.stored_volume import (
    EXPORT_AGAIN,
    Compression,
    StoredVolume,
    corrupt,
    data_file_beside,
    header_line,
    parse_numbers,
    parse_sizes,
)
from dimlift.data.issue import Issue

_TYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(code) for code, names in _TYPES.items() for name in names.split(",")}
_COMPRESSION: dict[str, Compression] = {
    "raw": "raw", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2"
}  # fmt: skip
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
"""Signs that convert a space to (left, posterior, superior)."""
_FIELDS = (
    "content", "number", "type", "blocksize", "dimension", "sizes", "spacings", "thicknesses", "axismins", "axismaxs",
    "centers", "centerings", "labels", "units", "kinds", "min", "max", "oldmin", "oldmax", "encoding", "endian",
    "datafile", "lineskip", "byteskip", "sampleunits", "space", "spacedimension", "spaceunits", "spaceorigin",
    "spacedirections", "measurementframe",
)  # fmt: skip
_SPATIAL_KINDS = ("domain", "space", "???", "none", "")
_COMPONENT_KINDS = (
    "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "rgb-color", "hsv-color", "xyz-color",
    "rgba-color", "2-vector", "3-color", "3-vector", "3-gradient", "3-normal", "4-color", "4-vector", "quaternion",
)  # fmt: skip
_MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "???", "none")
_SAVE = "save it in one file with raw or gzip encoding"


class _Axes(NamedTuple):
    """Spatial axes, the index of the component axis, and the affine in the space of the file."""

    components: int | None
    affine: NDArray[np.float64]
    without_space: bool


def read_nrrd_header(path: Path) -> StoredVolume:
    """Parse the header of a `.nrrd` or `.nhdr` file.

    Raises:
        CorruptFileError: if it is not a header of this format, or contradicts itself.
        DataError: if the voxels are of a kind that is not read.
    """
    with path.open("rb") as stream:
        fields = _read_fields(path, stream)
        offset = stream.tell()
    encoding = fields.get("encoding", "").lower()
    if encoding not in _COMPRESSION or {"lineskip", "byteskip"} & fields.keys():
        skip = " and skipped bytes" if encoding in _COMPRESSION else ""
        raise Issue(str(path), "error", f"has voxels in the encoding {encoding[:40]!r}{skip}", _SAVE).as_error()
    data = path
    if "datafile" in fields or path.suffix.lower() == ".nhdr":
        if path.suffix.lower() != ".nhdr":
            raise Issue(str(path), "error", "stores its voxels in another file", _SAVE).as_error()
        data, offset = data_file_beside(path, fields.get("datafile", "")), 0
    dimension = fields.get("dimension", "")
    if not re.fullmatch("[0-9]{1,2}", dimension):
        raise corrupt(path, f"states the dimension {dimension[:40]!r} in its header")
    axes_count = int(dimension)
    sizes = parse_sizes(path, "sizes", fields.get("sizes", ""), axes_count)
    dtype = _DTYPES.get(fields.get("type", "").lower())
    if dtype is None:
        raise corrupt(path, f"states the voxel type {fields.get('type', '')[:40]!r}", "convert it to numbers")
    endian = fields.get("endian", "").lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise corrupt(path, f"states the byte order {endian[:40]!r} in its header; little or big is expected")
    axes = _read_axes(path, fields, axes_count)
    issues: tuple[Issue, ...] = ()
    if axes.without_space:
        message = "states no orientation; its axes are taken as left, posterior, superior"
        issues = (Issue(str(path), "warning", message, "export it with its orientation"),)
    dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    return StoredVolume(sizes, axes.components, dtype, _COMPRESSION[encoding], axes.affine, data, offset, issues=issues)


def _read_fields(path: Path, stream: IO[bytes]) -> dict[str, str]:
    """Return the fields by their names in lower case without blanks; the stream is then behind the header."""
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", stream.readline(16)):
        raise corrupt(path, "does not begin with an NRRD header")
    fields: dict[str, str] = {}
    detached = path.suffix.lower() == ".nhdr"
    size = path.stat().st_size
    while not (detached and stream.tell() == size) and (line := header_line(path, stream)):
        name, colon, value = line.partition(": ")
        key = name.strip().lower().replace(" ", "")
        if line.startswith("#") or (":=" in line and key not in _FIELDS):
            continue
        if not colon and line.endswith(":"):
            key, colon, value = key.removesuffix(":"), ":", ""
        if not colon or key not in _FIELDS:
            raise corrupt(path, f"has the line {line[:40]!r} in its header, which is not an NRRD field")
        key = "centerings" if key == "centers" else key
        if key in fields:
            raise corrupt(path, f"states {name[:40]!r} twice in its header", EXPORT_AGAIN)
        fields[key] = value.strip()
    return fields


def _read_axes(path: Path, fields: dict[str, str], dimension: int) -> _Axes:
    kinds = fields.get("kinds", " ".join(["???"] * dimension)).lower().split()
    if len(kinds) != dimension:
        raise corrupt(path, f"states {len(kinds)} kinds for {dimension} axes in its header", EXPORT_AGAIN)
    strange = [kind for kind in kinds if kind not in (*_SPATIAL_KINDS, *_COMPONENT_KINDS)]
    if strange:
        message = f"has an axis of kind {strange[0][:40]!r}; real numbers on three spatial axes are expected"
        raise Issue(str(path), "error", message, "convert it to one number per voxel, one volume per file").as_error()
    by_kind = [axis for axis, kind in enumerate(kinds) if kind in _COMPONENT_KINDS]
    directions = _parse_directions(path, fields, dimension)
    without = by_kind if directions is None else [axis for axis, vector in enumerate(directions) if vector is None]
    if dimension - len(without) != 3 or len(without) > 1:
        message = f"has {dimension - len(without)} axes; three are expected"
        raise Issue(str(path), "error", message, "save one volume per file").as_error()
    if by_kind and by_kind != without:
        message = "states a direction for an axis of components in its header, or none for a spatial axis"
        raise corrupt(path, message, EXPORT_AGAIN)
    _require_millimetres(path, fields)
    affine = np.eye(4)
    if directions is None:
        affine = _affine_from_spacings(path, fields, dimension, without)
    else:
        affine[:3, :3] = np.array([vector for vector in directions if vector is not None]).T
        if "spaceorigin" in fields:
            (origin,) = _parse_vectors(path, "space origin", fields["spaceorigin"], 1)
            if origin is None:
                raise corrupt(path, "states no space origin in its header", EXPORT_AGAIN)
            affine[:3, 3] = origin
        affine[:3] *= np.array(_signs(path, fields))[:, None]
    return _Axes(without[0] if without else None, affine, "space" not in fields)


def _parse_directions(path: Path, fields: dict[str, str], dimension: int) -> list[tuple[float, ...] | None] | None:
    if "spacedirections" not in fields:
        if "space" in fields or "spaceorigin" in fields:
            raise corrupt(path, "states a space, but no space directions in its header", EXPORT_AGAIN)
        return None
    if {"spacings", "axismins", "axismaxs"} & fields.keys():
        raise corrupt(path, "states both spacings and space directions in its header", EXPORT_AGAIN)
    if fields.get("spacedimension", "3") != "3" or not {"space", "spacedimension"} & fields.keys():
        raise corrupt(path, "states no space of three dimensions in its header", EXPORT_AGAIN)
    return _parse_vectors(path, "space directions", fields["spacedirections"], dimension)


def _parse_vectors(path: Path, name: str, text: str, count: int) -> list[tuple[float, ...] | None]:
    words = re.findall(r"\([^()]{1,200}\)|none", text)
    if len(words) != count or re.sub(r"\s", "", "".join(words)) != re.sub(r"\s", "", text):
        raise corrupt(path, f"states the {name} {text[:80]!r} in its header; {count} vectors are expected")
    return [
        None if word == "none" else parse_numbers(path, f"the {name}", word[1:-1].replace(",", " "), 3)
        for word in words
    ]


def _signs(path: Path, fields: dict[str, str]) -> tuple[int, int, int]:
    space = fields.get("space", "left-posterior-superior").lower()
    if space not in _SPACES:
        message = f"is in the space {space[:60]!r}; left-posterior-superior, right-anterior-superior or "
        raise Issue(str(path), "error", f"{message}left-anterior-superior is expected", EXPORT_AGAIN).as_error()
    return _SPACES[space]


def _require_millimetres(path: Path, fields: dict[str, str]) -> None:
    for name in ("spaceunits", "units"):
        units = re.findall(r'"([^"]*)"|(\S+)', fields.get(name, ""))
        for unit in itertools.chain.from_iterable(units):
            if unit.strip().lower() not in _MILLIMETRES and (name == "spaceunits" or unit.lower() in ("m", "cm", "um")):
                message = f"is in {unit[:20]!r}; millimetres are expected"
                raise Issue(str(path), "error", message, "save it in millimetres").as_error()


def _affine_from_spacings(
    path: Path, fields: dict[str, str], dimension: int, without: list[int]
) -> NDArray[np.float64]:
    """Return the affine of a file without a space, as ITK does: axes along left, posterior, superior."""

    def numbers(name: str, default: float) -> NDArray[np.float64]:
        words = fields.get(name, " ".join([str(default)] * dimension)).lower().split()
        words = [word for axis, word in enumerate(words) if axis not in without]
        words = [str(default) if word == "nan" else word for word in words]
        return np.array(parse_numbers(path, name, " ".join(words), 3))

    spacings = numbers("spacings", 1.0)
    if not (spacings > 0).all():
        raise corrupt(path, f"states the spacings {spacings.tolist()} in its header; positive numbers are expected")
    nodes = np.array([word == "node" for word in fields.get("centerings", "cell " * dimension).lower().split()])
    if len(nodes) != dimension:
        raise corrupt(path, f"states {len(nodes)} centerings for {dimension} axes in its header", EXPORT_AGAIN)
    affine = np.diag([*spacings, 1.0])
    if "axismins" in fields:
        affine[:3, 3] = numbers("axismins", 0.0) + np.where(np.delete(nodes, without), 0.0, spacings / 2)
    return affine
