"""NIfTI files, read to their last byte.

nibabel stops reading once it has its voxels, so a flipped bit that only the gzip checksum shows goes unnoticed; other
readers fill a truncated file with zeros. Here the gzip stream is read to its end, which checks the sum, and its length
must be the one the header states.
"""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from dimlift.data.io.nifti_affine import read_frame
from dimlift.data.issue import Finding
from dimlift.data.volume import Grid, Volume
from dimlift.errors import DamagedFile, DataError
from dimlift.records.atomic_write import written_whole

SUFFIXES = (".nii.gz", ".nii")

_GZIP_LARGEST_RATIO = 1032
"""No gzip stream unpacks to more than this many times its size: a header that asks for more is wrong."""
_GZIP_OVERHEAD = 64
_AGAIN = "download or copy it again from its source"

PIECE = 1 << 16
"""Bytes read at once."""


def read_volume(path: str | Path) -> Volume:
    """Read a `.nii` or `.nii.gz` file, every byte of it.

    Returns:
        voxels on the axes of the file; a file of four axes keeps its channels on the last one.

    Raises:
        DamagedFile: truncated, bit-flipped, of another length than its header states, or no NIfTI at all.
        DataError: a NIfTI of a kind that is no volume (complex or RGB voxels, five axes), or one whose
            header contradicts itself about where it lies (`nifti_frame`).
    """
    path = Path(path)
    with _faults_named(path), _open(path) as stream:
        header = _read_header(path, stream)
        payload = _read_payload(path, stream, header)
    shape = tuple(int(size) for size in header.get_data_shape())
    array = np.frombuffer(payload, header.get_data_dtype()).reshape(shape, order="F")
    array = apply_read_scaling(array, *_scaling(header))
    affine, remarks = read_frame(path, header)
    return Volume(_as_volume(path, array), affine, path, header, remarks)


def read_grid(path: str | Path) -> Grid:
    """Shape and affine of a file, from its header alone: quick, and no word on whether the voxels are whole.

    Raises:
        DamagedFile, DataError: as `read_volume`, for faults of the header.
    """
    path = Path(path)
    with _faults_named(path), _open(path) as stream:
        header = _read_header(path, stream)
    shape = tuple(int(size) for size in header.get_data_shape())
    stored = header.get_data_dtype().itemsize
    slope, intercept = header.get_slope_inter()
    scaled = 0 if slope in (None, 1) and not intercept else 2 * max(4, stored)
    affine, _ = read_frame(path, header)
    return Grid(shape, affine, stored + scaled, path)


def write_labels(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write an integer label map in one piece: a reader sees the whole file or none.

    Args:
        array: (i, j, k) integers, on the axes of the input file.
        affine: of the input file.
        like: header of the input file (`Volume.header`); its orientation codes and units are kept.

    Raises:
        DataError: if the array holds no integers.
    """
    return write_volume(path, smallest_integers(path, array), affine, like)


def smallest_integers(path: str | Path, array: NDArray[Any]) -> NDArray[Any]:
    """Labels as the smallest of uint8, int16 and int32 that holds them.

    Raises:
        DataError: if they are no integers.
    """
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != np.bool_:
        raise DataError(f"{path}: labels are {array.dtype}, integers are wanted; take the argmax first")
    lowest, highest = (int(array.min()), int(array.max())) if array.size else (0, 0)
    kind = (
        np.uint8 if lowest >= 0 and highest < 256 else np.int16 if lowest >= -(2**15) and highest < 2**15 else np.int32
    )
    return array.astype(kind, copy=False)


def write_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write voxels as they are, in one piece; the same input always gives the same bytes."""
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: can only write {' or '.join(SUFFIXES)}; choose such a name")
    header = nib.Nifti1Header() if like is None else nib.Nifti1Header.from_header(like)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, b"dimlift"
    header.extensions.clear()
    image = nib.Nifti1Image(array, affine, None if like is None else header)
    image.header.set_slope_inter(1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as scratch, scratch.open("wb") as stream:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 5, stream, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(stream)
    return path


@contextlib.contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Turn the faults of reading a file into ones that name it."""
    if not path.is_file():
        raise Finding(str(path), "error", "there is no such file", "restore it, or take its case out").as_error()
    try:
        yield
    except (EOFError, OSError, zlib.error) as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            why = f"cannot be read: {fault.strerror}"
            raise Finding(str(path), "error", why, "check the disk and your rights").as_error() from fault
        size = path.stat().st_size
        raise _damaged(path, f"the gzip stream is broken ({fault}), {size} bytes on disk") from fault


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield stream


def _read_header(path: Path, stream: IO[bytes]) -> Any:
    """The header, its fields checked; the stream stands behind it."""
    start = stream.read(4)
    size = next((n for n in (348, 540) if n in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))), 0)
    if not size:
        raise _damaged(path, f"begins with the bytes {start!r}, which is no NIfTI header")
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise _damaged(path, f"ends after {len(block)} bytes; the header alone has {size}")
    try:
        header = (nib.Nifti1Header if size == 348 else nib.Nifti2Header)(block)
        header.get_data_dtype()
        header.get_slope_inter()
    except (WrapStructError, HeaderDataError, ValueError, TypeError, KeyError) as fault:
        raise _damaged(path, f"its header cannot be understood ({fault})") from fault
    magic = bytes(header["magic"].item())
    if not magic.startswith(b"n+"):
        raise _damaged(path, f"has the magic {magic!r}, 'n+1' or 'n+2' is wanted")
    return header


def _read_payload(path: Path, stream: IO[bytes], header: Any) -> NDArray[np.uint8]:
    """The voxel bytes: exactly as many as the header states, up to the end of the stream."""
    shape = header.get_data_shape()
    kind = header.get_data_dtype()
    if any(size < 1 for size in shape) or not shape:
        raise _damaged(path, f"its header states the shape {tuple(shape)}")
    wanted = kind.itemsize
    for size in shape:
        wanted *= int(size)
    head = int(header["sizeof_hdr"])
    offset = float(header["vox_offset"])
    if not np.isfinite(offset):
        raise _damaged(path, f"its header states that voxels begin at byte {offset}")
    gap = int(offset) - head
    if gap < 0:
        raise _damaged(
            path, f"its header states that voxels begin at byte {int(header['vox_offset'])}, inside the header"
        )
    on_disk = path.stat().st_size
    packed = path.name.lower().endswith(".gz")
    most = (on_disk + _GZIP_OVERHEAD) * _GZIP_LARGEST_RATIO if packed else on_disk
    if head + gap + wanted > most:
        raise _damaged(
            path,
            f"its header states {head + gap + wanted} bytes, "
            f"but the file has {on_disk}{', which cannot unpack to so many' if packed else ''}",
        )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > memory:
        why = f"its header states {wanted:,} bytes of voxels, and this machine has {memory:,} bytes of memory"
        raise Finding(str(path), "error", why, "cut it into parts, or use a larger machine").as_error()
    skipped = 0
    while skipped < gap and (piece := stream.read(min(PIECE, gap - skipped))):
        skipped += len(piece)
    payload = np.zeros(wanted, np.uint8)  # takes no memory before it is filled: the header may lie
    view, filled = payload.data, 0
    try:
        while filled < wanted:
            # a piece at a time: a stream that breaks off still hands out the pieces before
            count = stream.readinto(view[filled : filled + PIECE])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        rest = len(stream.read(1)) if filled == wanted else 0
    except EOFError as fault:
        found = head + skipped + filled
        raise _damaged(
            path, f"is cut off: {found} bytes found, {head + gap + wanted} expected from its header"
        ) from fault
    if filled < wanted:
        found = head + skipped + filled
        raise _damaged(path, f"is cut off: {found} bytes found, {head + gap + wanted} expected from its header")
    if rest:
        raise _damaged(path, f"goes on after the {head + gap + wanted} bytes its header states")
    return payload


def _scaling(header: Any) -> tuple[Any, Any]:
    """Slope and intercept, None where there are none; of a precision that is enough for the voxels and no more."""
    slope, intercept = header.get_slope_inter()
    if header.get_data_dtype().itemsize > 2:
        return slope, intercept
    return tuple(None if number is None else np.float32(number) for number in (slope, intercept))  # type: ignore[return-value]


def _as_volume(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iufb":
        remedy = "convert it to one number per voxel"
        raise Finding(
            str(path), "error", f"has voxels of type {array.dtype}, one real number each is wanted", remedy
        ).as_error()
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = array.squeeze(axis=3 + array.shape[3:].index(1))
    if array.ndim > 4:
        found = f"has the shape {array.shape}; three axes, or four with the channels last, are wanted"
        raise Finding(str(path), "error", found, "save one volume per file").as_error()
    return array.reshape(array.shape + (1,) * max(0, 3 - array.ndim))


def _damaged(path: Path, finding: str) -> DataError:
    return Finding(str(path), "error", finding, _AGAIN).as_error(DamagedFile)
