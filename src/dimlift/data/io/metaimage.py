"""MetaImage files (`.mha`, `.mhd`), read and written in Python. https://itk.org/Wiki/ITK/MetaIO/Documentation

No C library sees a header that others wrote: those parse it differently, crash on long values, and open files it names.
"""

import re
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.stored_volume import (
    EXPORT_AGAIN,
    LPS_TO_RAS,
    StoredVolume,
    corrupt,
    data_file_beside,
    grid_of,
    header_line,
    parse_numbers,
    parse_sizes,
    read_stored_volume,
    to_spacing_and_direction,
)
from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume
from dimlift.records.atomic_write import atomic_write

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_ALIASES = {
    "position": "offset", "origin": "offset", "rotation": "transformmatrix", "orientation": "transformmatrix",
    "elementbyteordermsb": "binarydatabyteordermsb",
}  # fmt: skip
"""Names that ITK accepts for the same field."""
_SAVE = "save it in one file with binary voxels"


def read_mha_volume(path: str | Path) -> Volume:
    """Read a `.mha` or `.mhd` file; several channels become the last axis.

    Raises:
        CorruptFileError: if the file is truncated, has a wrong checksum, or is of another format.
        DataError: if the volume does not have three axes, or is sheared.
    """
    path = Path(path)
    return read_stored_volume(path, _read_header(path))


def read_mha_grid(path: str | Path) -> Grid:
    """Read shape and affine of a file from its header alone."""
    path = Path(path)
    return grid_of(path, _read_header(path))


def write_mha_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    """Write voxels as they are, compressed and atomically.

    Args:
        path: where to write.
        array: (i, j, k) on the axes of the affine; integers or floats of up to 8 bytes.
        affine: (4, 4) to millimetres (right, anterior, superior).
    """
    path = Path(path)
    sizes, directions = to_spacing_and_direction(LPS_TO_RAS @ affine)
    little = array.dtype.newbyteorder("<")
    packer = zlib.compressobj(6)
    slices = (array[:, :, index].astype(little).tobytes(order="F") for index in range(array.shape[2]))
    packed = b"".join([*map(packer.compress, slices), packer.flush()])
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        "TransformMatrix": _line(directions.T.ravel()),
        "Offset": _line((LPS_TO_RAS @ affine)[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _line(sizes),
        "DimSize": " ".join(str(size) for size in array.shape),
        "ElementType": next(name for name, code in _TYPES.items() if code == little.str[1:]),
        "ElementDataFile": "LOCAL",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        stream.write("".join(f"{name} = {value}\n" for name, value in fields.items()).encode("ascii"))
        stream.write(packed)
    return path


def _read_header(path: Path) -> StoredVolume:
    with path.open("rb") as stream:
        fields = _read_fields(path, stream)
        offset = stream.tell()
    if not re.fullmatch("[0-9]{1,2}", fields.get("ndims", "")):
        raise corrupt(path, f"states NDims {fields.get('ndims', '')[:40]!r} in its header")
    if fields["ndims"] != "3":
        message = f"has {fields['ndims']} axes; three are expected"
        raise Issue(str(path), "error", message, "save one volume per file").as_error()
    _require_plain_voxels(path, fields)
    data = path
    if fields["elementdatafile"].upper() != "LOCAL":
        if path.suffix.lower() != ".mhd":
            raise Issue(str(path), "error", "stores its voxels in another file", _SAVE).as_error()
        data, offset = data_file_beside(path, fields["elementdatafile"]), 0
    sizes = parse_sizes(path, "sizes", fields.get("dimsize", ""), 3)
    (channels,) = parse_sizes(path, "number of channels", fields.get("elementnumberofchannels", "1"), 1)
    if (code := _TYPES.get(fields.get("elementtype", ""))) is None:
        raise corrupt(path, f"states the voxel type {fields.get('elementtype', '')[:40]!r} in its header")
    compressed = _flag(path, fields, "compresseddata", False)
    stored_bytes = fields.get("compresseddatasize") if compressed else None
    count = parse_sizes(path, "size of compressed voxels", stored_bytes, 1)[0] if stored_bytes else None
    return StoredVolume(
        (channels, *sizes) if channels > 1 else sizes,
        0 if channels > 1 else None,
        np.dtype(code).newbyteorder(">" if _flag(path, fields, "binarydatabyteordermsb", False) else "<"),
        "deflate" if compressed else "raw",
        _read_affine(path, fields),
        data,
        offset,
        count,
    )


def _read_fields(path: Path, stream: IO[bytes]) -> dict[str, str]:
    """Return the fields by their names in lower case; the stream is then behind the header."""
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:
        line = header_line(path, stream)
        name, equals, value = line.partition("=")
        key = name.strip().lower()
        if not equals or not re.fullmatch(r"[\w .:\-/()\[\]|]+", key):
            raise corrupt(path, f"has the line {line[:40]!r} in its header, which is not a MetaImage field")
        key = _ALIASES.get(key, key)
        if key in fields:
            raise corrupt(path, f"states {name.strip()[:40]!r} twice in its header", EXPORT_AGAIN)
        fields[key] = value.strip()
    if fields.get("objecttype", "Image").lower() != "image":
        raise corrupt(path, f"states the object type {fields['objecttype'][:40]!r}; an image is expected")
    return fields


def _require_plain_voxels(path: Path, fields: dict[str, str]) -> None:
    """Raise for what ITK and other programs read differently: text, skipped bytes, scaled intensities, other units."""
    if not _flag(path, fields, "binarydata", True):
        raise Issue(str(path), "error", "stores its voxels as text", _SAVE).as_error()
    if fields.get("headersize", "0") not in ("0", ""):
        raise Issue(str(path), "error", "states skipped bytes before its voxels", _SAVE).as_error()
    for name, neutral in (("elementtointensityfunctionslope", 1.0), ("elementtointensityfunctionoffset", 0.0)):
        if name in fields and parse_numbers(path, name, fields[name], 1) != (neutral,):
            message = "states a function from voxels to intensities, which ITK ignores"
            raise Issue(str(path), "error", message, "save the intensities themselves").as_error()
    if fields.get("distanceunits", "mm").lower() not in ("mm", "?", ""):
        message = f"is in {fields['distanceunits'][:20]!r}; millimetres are expected"
        raise Issue(str(path), "error", message, "save it in millimetres").as_error()


def _read_affine(path: Path, fields: dict[str, str]) -> NDArray[np.float64]:
    """Return the affine to (left, posterior, superior); a row of TransformMatrix is the direction of an axis."""
    name = "elementspacing" if "elementspacing" in fields else "elementsize"
    spacing = np.array(parse_numbers(path, name, fields.get(name, "1 1 1"), 3))
    if not (spacing > 0).all():
        raise corrupt(path, f"states the spacing {spacing.tolist()} in its header; positive numbers are expected")
    rows = parse_numbers(path, "TransformMatrix", fields.get("transformmatrix", "1 0 0 0 1 0 0 0 1"), 9)
    affine = np.eye(4)
    affine[:3, :3] = np.array(rows).reshape(3, 3).T * spacing
    affine[:3, 3] = parse_numbers(path, "Offset", fields.get("offset", "0 0 0"), 3)
    return affine


def _flag(path: Path, fields: dict[str, str], name: str, default: bool) -> bool:
    text = fields.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise corrupt(path, f"states {name} {text[:40]!r} in its header; True or False is expected")
    return text == "true"


def _line(numbers: NDArray[np.float64]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
