"""Integrity check of NRRD and MHA files, which SimpleITK does not do.

SimpleITK 2.5.7 silently accepts flipped bits in a compressed MHA, a missing checksum at the end of a gzip-compressed
NRRD, and bytes after the last voxel in both. Here the header is parsed, the voxels are decompressed to their end, which
verifies the checksum, and their number must be the one stated by the header. Uncompressed voxels have no checksum: only
their number is checked.

NRRD: https://teem.sourceforge.net/nrrd/format.html; MetaImage: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError

_FIX = "download or copy it again from its source"
_SAVE = "save it in one file with raw or gzip encoding"
_MAX_HEADER_BYTES = 1 << 20
_MAX_RATIO = 1032
"""Upper bound of the compression ratio of deflate."""
_READ_BYTES = 1 << 20

_NRRD_BYTES = {
    1: "signed char,int8,int8_t,uchar,unsigned char,uint8,uint8_t",
    2: "short,short int,signed short,signed short int,int16,int16_t,ushort,unsigned short,unsigned short int,uint16,"
    "uint16_t",
    4: "int,signed int,int32,int32_t,uint,unsigned int,uint32,uint32_t,float",
    8: "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t,ulonglong,"
    "unsigned long long,unsigned long long int,uint64,uint64_t,double",
}
_MHA_BYTES = {
    1: "MET_CHAR,MET_UCHAR",
    2: "MET_SHORT,MET_USHORT",
    4: "MET_INT,MET_UINT,MET_FLOAT",
    8: "MET_LONG_LONG,MET_ULONG_LONG,MET_DOUBLE",
}


def require_complete(path: Path) -> None:
    """Decompress the voxels of a `.nrrd` or `.mha` file to their end and count them.

    Raises:
        CorruptFileError: if the file is truncated, has a wrong checksum, or another number of bytes than stated.
        DataError: if the voxels are in another file, or stored as text.
    """
    with path.open("rb") as stream:
        if path.name.lower().endswith(".nrrd"):
            compression, expected = _nrrd_header(path, stream)
        else:
            compression, expected = _mha_header(path, stream)
        start = stream.tell()
        remaining = path.stat().st_size - start
        if expected > remaining * (_MAX_RATIO if compression else 1) + 64:
            raise _corrupt(path, f"states {expected} bytes of voxels in its header, but only {remaining} bytes follow")
        try:
            count = _count(stream, compression, expected)
        except (EOFError, OSError, zlib.error) as fault:
            raise _corrupt(path, f"has corrupt compressed voxels ({fault})") from fault
    if count < expected:
        raise _corrupt(path, f"is truncated: {count} bytes of voxels found, {expected} expected from its header")
    if count > expected:
        raise _corrupt(path, f"continues after the {expected} bytes of voxels stated by its header")


def _count(stream: IO[bytes], compression: str, expected: int) -> int:
    """Count the bytes of voxels up to the end of the file, but at most one more than expected."""
    if compression == "zlib":
        return _count_zlib(stream, expected)
    opened: IO[bytes] = gzip.GzipFile(fileobj=stream) if compression else stream  # type: ignore[assignment]
    count = 0
    while count <= expected and (piece := opened.read(min(_READ_BYTES, expected + 1 - count))):
        count += len(piece)
    return count


def _count_zlib(stream: IO[bytes], expected: int) -> int:
    decompressor = zlib.decompressobj()
    count, pending = 0, b""
    while not decompressor.eof and count <= expected:
        pending = pending or stream.read(_READ_BYTES)
        if not pending:
            raise EOFError("it ends before its checksum")
        count += len(decompressor.decompress(pending, _READ_BYTES))
        pending = decompressor.unconsumed_tail
    return count + len(decompressor.unused_data) + len(stream.read(1))


def _nrrd_header(path: Path, stream: IO[bytes]) -> tuple[str, int]:
    """Return the compression ("", "gzip") and the number of bytes of the voxels."""
    if not stream.readline(16).startswith(b"NRRD000"):
        raise _corrupt(path, "does not begin with an NRRD header")
    fields: dict[str, str] = {}
    for line in _lines(path, stream):
        if not line:
            break
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise Issue(str(path), "error", "stores its voxels in another file", _SAVE).as_error()
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz") or {"line skip", "lineskip", "byte skip", "byteskip"} & fields.keys():
        raise Issue(str(path), "error", f"has voxels in the encoding {encoding!r}", _SAVE).as_error()
    expected = _payload_size(path, fields.get("sizes"), fields.get("type"), _NRRD_BYTES)
    return ("" if encoding == "raw" else "gzip"), expected


def _mha_header(path: Path, stream: IO[bytes]) -> tuple[str, int]:
    """Return the compression ("", "zlib") and the number of bytes of the voxels."""
    fields: dict[str, str] = {}
    for line in _lines(path, stream):
        name, equals, value = line.partition("=")
        if not equals:
            raise _corrupt(path, f"has {line[:40]!r} in its header, which is not a MetaImage field")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    if fields.get("elementdatafile") != "LOCAL":
        raise Issue(str(path), "error", "stores its voxels in another file", _SAVE).as_error()
    if fields.get("binarydata", "True").lower() != "true":
        raise Issue(str(path), "error", "stores its voxels as text", _SAVE).as_error()
    expected = _payload_size(path, fields.get("dimsize"), fields.get("elementtype"), _MHA_BYTES)
    expected *= int(fields.get("elementnumberofchannels", "1"))
    return ("zlib" if fields.get("compresseddata", "False").lower() == "true" else ""), expected


def _lines(path: Path, stream: IO[bytes]) -> list[str]:
    """Return the lines of the header up to its end; the stream is then behind it."""
    lines: list[str] = []
    while stream.tell() < _MAX_HEADER_BYTES:
        raw = stream.readline(_MAX_HEADER_BYTES)
        if not raw.endswith(b"\n"):
            break
        lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
        if not lines[-1] or lines[-1].replace(" ", "").lower().startswith("elementdatafile="):
            return lines
    raise _corrupt(path, f"has no end of its header within {stream.tell()} bytes")


def _payload_size(path: Path, sizes: str | None, voxel_type: str | None, table: dict[int, str]) -> int:
    width = next((width for width, names in table.items() if (voxel_type or "").strip() in names.split(",")), None)
    numbers = (sizes or "").split()
    if width is None or not numbers or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise _corrupt(path, f"states the sizes {sizes!r} and the voxel type {voxel_type!r} in its header")
    return width * math.prod(int(number) for number in numbers)


def _corrupt(path: Path, message: str) -> DataError:
    return Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)
