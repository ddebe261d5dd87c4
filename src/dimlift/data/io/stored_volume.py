"""Voxels behind a text header (NRRD, MetaImage), which is read once, by one strict parser.

No more bytes are decompressed than the header states, and no byte may follow them. Compressed streams are read to their
end, which verifies their checksum. Uncompressed voxels have no checksum: only their number is checked.
"""

import bz2
import math
import re
import zlib
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume, require_orthogonal, voxel_sizes
from dimlift.errors import CorruptFileError, DataError

COPY_AGAIN = "download or copy it again from its source"
EXPORT_AGAIN = "export it again from its source"
MAX_HEADER_BYTES = 1 << 20
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_CONTROL_CHARACTER = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_NUMBER = 40
_MAX_SIZE = 1 << 31
_READ_BYTES = 1 << 20
_MAX_RATIO = {"raw": 1, "deflate": 1032, "bzip2": 1 << 17}
"""Upper bounds of the compression ratio."""

Compression = Literal["raw", "deflate", "bzip2"]


class StoredVolume(NamedTuple):
    """What a header states.

    Attributes:
        sizes: of all axes in the file, the fastest first.
        components: index of the axis that holds the components of a voxel, None if voxels are single numbers.
        dtype: of the voxels in the file, with its byte order.
        compression: "deflate" stands for gzip and zlib streams.
        affine: (4, 4) (i, j, k) to millimetres (left, posterior, superior).
        data: the file that holds the voxels.
        offset: where they begin in it.
        stored_bytes: number of bytes of the compressed voxels, None if the header does not state it.
        issues: warnings.
    """

    sizes: tuple[int, ...]
    components: int | None
    dtype: np.dtype[Any]
    compression: Compression
    affine: NDArray[np.float64]
    data: Path
    offset: int
    stored_bytes: int | None = None
    issues: tuple[Issue, ...] = ()


def grid_of(path: Path, stored: StoredVolume) -> Grid:
    """Return the grid of a header; an axis of components becomes the last one, and is omitted if it has length 1."""
    shape = [size for axis, size in enumerate(stored.sizes) if axis != stored.components]
    count = 1 if stored.components is None else stored.sizes[stored.components]
    affine = LPS_TO_RAS @ stored.affine
    require_orthogonal(path, (shape[0], shape[1], shape[2]), affine)
    width = stored.dtype.itemsize * count * (1 if stored.dtype.isnative else 2)
    return Grid((*shape, *([count] if count > 1 else [])), affine, voxel_bytes=width, path=path)


def read_stored_volume(path: Path, stored: StoredVolume) -> Volume:
    """Read the voxels a header describes.

    Raises:
        CorruptFileError: if there are fewer or more bytes than stated, or a checksum is wrong.
        DataError: if the axes are not orthogonal.
    """
    grid = grid_of(path, stored)
    count = math.prod(stored.sizes)
    with stored.data.open("rb") as stream:
        stream.seek(stored.offset)
        voxels = _read_voxels(path, stream, stored, count * stored.dtype.itemsize).view(stored.dtype)
    array = voxels.reshape(stored.sizes[::-1]).T
    if stored.components is not None:
        array = np.moveaxis(array, stored.components, -1)
    native = stored.dtype.newbyteorder("=")
    return Volume(array.reshape(grid.shape).astype(native, copy=False), grid.affine, path, None, stored.issues)


def parse_numbers(path: Path, name: str, text: str, count: int) -> tuple[float, ...]:
    """Return `count` finite numbers of a field.

    Raises:
        CorruptFileError: if there are others.
    """
    words = text.split()
    if len(words) == count and all(len(word) <= _LONGEST_NUMBER for word in words):
        try:
            numbers = tuple(float(word) for word in words)
        except ValueError:
            numbers = ()
        if numbers and np.isfinite(numbers).all():
            return numbers
    raise corrupt(path, f"states {name} {text[:80]!r} in its header; {count} numbers are expected")


def parse_sizes(path: Path, name: str, text: str, count: int) -> tuple[int, ...]:
    """Return the sizes of all axes.

    Raises:
        CorruptFileError: if there are not `count` positive integers.
    """
    words = text.split()
    if len(words) == count and all(re.fullmatch("[0-9]{1,10}", word) for word in words):
        sizes = tuple(int(word) for word in words)
        if all(0 < size < _MAX_SIZE for size in sizes):
            return sizes
    raise corrupt(path, f"states the {name} {text[:80]!r} in its header; {count} positive integers are expected")


def header_line(path: Path, stream: IO[bytes]) -> str:
    """Return the next line without its end; only a line feed, or a carriage return before it, ends a line.

    Raises:
        CorruptFileError: if the header does not end within `MAX_HEADER_BYTES`, or holds a control character, at which
            another program could see a line end.
    """
    raw = stream.readline(MAX_HEADER_BYTES + 1 - min(MAX_HEADER_BYTES, stream.tell()))
    if not raw.endswith(b"\n"):
        raise corrupt(path, f"has no end of its header within {stream.tell()} bytes")
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if _CONTROL_CHARACTER.search(raw):
        raise corrupt(path, f"has a control character in the line {raw[:40].decode('latin-1')!r} of its header")
    return raw.decode("utf-8", "replace")


def data_file_beside(path: Path, name: str) -> Path:
    """Return the file of voxels of a detached header.

    Raises:
        DataError: unless it is a regular file in the folder of the header, with the header's name before its suffix.
            Anything else (paths, lists, patterns, links that lead to another folder) is refused, since a header could
            otherwise name any file on the disk.
    """
    header = path.resolve()  # of a link, the voxels lie beside its target
    if not name.startswith(f"{header.stem}.") or "/" in name or "\\" in name or name == header.name:
        message = f"stores its voxels in {name[:80]!r}"
        fix = f"name the file of voxels {header.stem}.raw, beside it, or save both in one file (.nrrd, .mha)"
        raise Issue(str(path), "error", message, fix).as_error()
    beside = header.with_name(name)
    if not beside.is_file():
        fix = "copy both files together"
        raise Issue(str(path), "error", f"lacks {name}, which holds its voxels", fix).as_error()
    if beside.resolve().parent != header.parent:
        fix = "copy the file itself beside the header"
        raise Issue(str(path), "error", f"has voxels in {name}, a link to another folder", fix).as_error()
    return beside


def to_spacing_and_direction(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return voxel sizes (3,) and unit vectors as columns (3, 3)."""
    sizes = voxel_sizes(affine)
    return sizes, affine[:3, :3] / sizes


def corrupt(path: Path, message: str, fix: str = COPY_AGAIN) -> DataError:
    """Return an error about a damaged file."""
    return Issue(str(path), "error", message, fix).as_error(CorruptFileError)


def _read_voxels(path: Path, stream: IO[bytes], stored: StoredVolume, expected: int) -> NDArray[np.uint8]:
    remaining = stored.data.stat().st_size - stored.offset
    if stored.stored_bytes not in (None, remaining):
        message = f"states {stored.stored_bytes} bytes of compressed voxels in its header, but {remaining} follow"
        raise corrupt(path, message)
    if expected > remaining * _MAX_RATIO[stored.compression] + 64:
        raise corrupt(path, f"states {expected} bytes of voxels in its header, but only {remaining} bytes follow")
    try:
        voxels = np.empty(expected, dtype=np.uint8)
    except MemoryError as fault:
        fix = "use a machine with more memory, or crop the volume"
        raise Issue(str(path), "error", f"needs {expected / 2**30:.1f} GiB of memory", fix).as_error() from fault
    try:
        count = _fill_raw(stream, voxels) if stored.compression == "raw" else _fill_packed(stream, stored, voxels)
    except (EOFError, OSError, ValueError, zlib.error) as fault:
        raise corrupt(path, f"has corrupt compressed voxels ({fault})") from fault
    if count < expected:
        raise corrupt(path, f"is truncated: {count} bytes of voxels found, {expected} expected from its header")
    if count > expected:
        raise corrupt(path, f"continues after the {expected} bytes of voxels stated by its header")
    return voxels


def _fill_raw(stream: IO[bytes], voxels: NDArray[np.uint8]) -> int:
    """Read voxels in place; return their number, one more if the file continues."""
    count, target = 0, voxels.data
    while count < len(voxels) and (read := stream.readinto(target[count:])):  # type: ignore[attr-defined]
        count += read
    return count + len(stream.read(1))


def _fill_packed(stream: IO[bytes], stored: StoredVolume, voxels: NDArray[np.uint8]) -> int:
    """Decompress voxels in place, member by member; return their number, one more if the file continues."""
    count, pending = 0, b""
    decompressor = _decompressor(stored.compression)
    while count <= len(voxels):
        pending = pending or stream.read(_READ_BYTES)
        if decompressor.eof:
            if not pending:
                break
            decompressor = _decompressor(stored.compression)
        piece = decompressor.decompress(pending, min(_READ_BYTES, len(voxels) + 1 - count))
        if not (piece or pending or decompressor.eof):
            raise EOFError("they end before their checksum")
        kept = piece[: len(voxels) - count]
        voxels[count : count + len(kept)] = np.frombuffer(kept, dtype=np.uint8)
        count += len(piece)
        pending = decompressor.unused_data if decompressor.eof else getattr(decompressor, "unconsumed_tail", b"")
    return count


def _decompressor(compression: Compression) -> Any:
    """Return a decompressor; window bits of 47 accept gzip and zlib streams."""
    return bz2.BZ2Decompressor() if compression == "bzip2" else zlib.decompressobj(47)
