"""What SimpleITK does not look at in NRRD and MHA files: whether the voxels are whole.

SimpleITK 2.5.7 reads on, without a word, over flipped bits in a compressed MHA, a missing checksum at the end of a
gzip-compressed NRRD, and bytes after the last voxel in both. Here the header is read as text, the voxels unpacked to
their end, which compares the checksum, and their number must be the one the header states. Plain voxels carry no
checksum: only their number can be compared.

NRRD: https://teem.sourceforge.net/nrrd/format.html; MetaImage: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

from dimlift.data.issue import Finding
from dimlift.errors import DamagedFile, DataError

_AGAIN = "download or copy it again from its source"
_SAVE = "save it in one file with raw or gzip encoding"
_LONGEST_HEADER = 1 << 20
_LARGEST_RATIO = 1032
"""No deflate stream unpacks to more than this many times its size."""
_PIECE = 1 << 20

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


def require_whole(path: Path) -> None:
    """Unpack the voxels of a `.nrrd` or `.mha` file to their end and count them.

    Raises:
        DamagedFile: cut off, a wrong checksum, or another number of bytes than the header states.
        DataError: if the voxels lie in another file, or are written as text.
    """
    with path.open("rb") as stream:
        if path.name.lower().endswith(".nrrd"):
            packed, wanted = _nrrd_header(path, stream)
        else:
            packed, wanted = _mha_header(path, stream)
        start = stream.tell()
        room = path.stat().st_size - start
        if wanted > room * (_LARGEST_RATIO if packed else 1) + 64:
            raise _damaged(path, f"its header states {wanted} bytes of voxels, but only {room} bytes follow it")
        try:
            found = _count(stream, packed, wanted)
        except (EOFError, OSError, zlib.error) as fault:
            raise _damaged(path, f"the compressed voxels are broken ({fault})") from fault
    if found < wanted:
        raise _damaged(path, f"is cut off: {found} bytes of voxels found, {wanted} expected from its header")
    if found > wanted:
        raise _damaged(path, f"goes on after the {wanted} bytes of voxels its header states")


def _count(stream: IO[bytes], packed: str, wanted: int) -> int:
    """Bytes of voxels up to the end of the file, but no more than one too many."""
    if packed == "zlib":
        return _count_zlib(stream, wanted)
    opened: IO[bytes] = gzip.GzipFile(fileobj=stream) if packed else stream  # type: ignore[assignment]
    found = 0
    while found <= wanted and (piece := opened.read(min(_PIECE, wanted + 1 - found))):
        found += len(piece)
    return found


def _count_zlib(stream: IO[bytes], wanted: int) -> int:
    unpacker = zlib.decompressobj()
    found, waiting = 0, b""
    while not unpacker.eof and found <= wanted:
        waiting = waiting or stream.read(_PIECE)
        if not waiting:
            raise EOFError("it ends before its checksum")
        found += len(unpacker.decompress(waiting, _PIECE))
        waiting = unpacker.unconsumed_tail
    return found + len(unpacker.unused_data) + len(stream.read(1))


def _nrrd_header(path: Path, stream: IO[bytes]) -> tuple[str, int]:
    """How the voxels are packed ("", "gzip") and how many bytes they are."""
    if not stream.readline(16).startswith(b"NRRD000"):
        raise _damaged(path, "begins with no NRRD header")
    fields: dict[str, str] = {}
    for line in _lines(path, stream):
        if not line:
            break
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise Finding(str(path), "error", "keeps its voxels in another file", _SAVE).as_error()
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz") or {"line skip", "lineskip", "byte skip", "byteskip"} & fields.keys():
        raise Finding(str(path), "error", f"has voxels in the encoding {encoding!r}", _SAVE).as_error()
    wanted = _size(path, fields.get("sizes"), fields.get("type"), _NRRD_BYTES)
    return ("" if encoding == "raw" else "gzip"), wanted


def _mha_header(path: Path, stream: IO[bytes]) -> tuple[str, int]:
    """How the voxels are packed ("", "zlib") and how many bytes they are."""
    fields: dict[str, str] = {}
    for line in _lines(path, stream):
        name, equals, value = line.partition("=")
        if not equals:
            raise _damaged(path, f"has {line[:40]!r} in its header, which is no MetaImage field")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    if fields.get("elementdatafile") != "LOCAL":
        raise Finding(str(path), "error", "keeps its voxels in another file", _SAVE).as_error()
    if fields.get("binarydata", "True").lower() != "true":
        raise Finding(str(path), "error", "has voxels written as text", _SAVE).as_error()
    wanted = _size(path, fields.get("dimsize"), fields.get("elementtype"), _MHA_BYTES)
    wanted *= int(fields.get("elementnumberofchannels", "1"))
    return ("zlib" if fields.get("compresseddata", "False").lower() == "true" else ""), wanted


def _lines(path: Path, stream: IO[bytes]) -> list[str]:
    """The lines of the header up to the one that ends it; the stream stands behind that."""
    lines: list[str] = []
    while stream.tell() < _LONGEST_HEADER:
        raw = stream.readline(_LONGEST_HEADER)
        if not raw.endswith(b"\n"):
            break
        lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
        if not lines[-1] or lines[-1].replace(" ", "").lower().startswith("elementdatafile="):
            return lines
    raise _damaged(path, f"has no end to its header within {stream.tell()} bytes")


def _size(path: Path, sizes: str | None, kind: str | None, table: dict[int, str]) -> int:
    width = next((width for width, names in table.items() if (kind or "").strip() in names.split(",")), None)
    numbers = (sizes or "").split()
    if width is None or not numbers or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise _damaged(path, f"its header states the sizes {sizes!r} and the voxel type {kind!r}")
    return width * math.prod(int(number) for number in numbers)


def _damaged(path: Path, finding: str) -> DataError:
    return Finding(str(path), "error", finding, _AGAIN).as_error(DamagedFile)
