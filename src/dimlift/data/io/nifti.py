"""NIfTI files, read to the last byte.

nibabel stops reading once it has the voxels, so an error that only the gzip checksum reveals goes unnoticed; other
readers fill truncated files with zeros. Here the gzip stream is read to its end, which verifies the checksum, and its
length must be the one stated by the header.
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

from dimlift.data.io.nifti_affine import read_nifti_affine
from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume
from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write

SUFFIXES = (".nii.gz", ".nii")

READ_BYTES = 1 << 16
"""Bytes per read."""

_GZIP_MAX_RATIO = 1032
"""Upper bound of the compression ratio of gzip."""
_GZIP_OVERHEAD = 64
_FIX = "download or copy it again from its source"


def read_nifti_volume(path: str | Path) -> Volume:
    """Read a `.nii` or `.nii.gz` file and verify every byte of it.

    Returns:
        The volume on the axes of the file; a file of four axes keeps its channels on the last one.

    Raises:
        CorruptFileError: if the file is truncated, corrupt, of another length than its header states, or not NIfTI.
        DataError: if the file is not a volume (complex or RGB voxels, five axes), or if its header contradicts itself
            about its orientation (`nifti_affine`).
    """
    path = Path(path)
    with _name_read_errors(path), _open(path) as stream:
        header = _read_header(path, stream)
        payload = _read_payload(path, stream, header)
    shape = tuple(int(size) for size in header.get_data_shape())
    array = np.frombuffer(payload, header.get_data_dtype()).reshape(shape, order="F")
    array = apply_read_scaling(array, *_scaling(header))
    affine, issues = read_nifti_affine(path, header)
    return Volume(_as_volume(path, array), affine, path, header, issues)


def read_nifti_grid(path: str | Path) -> Grid:
    """Read shape and affine of a file from its header alone; the voxels are not verified.

    Raises:
        CorruptFileError, DataError: as `read_nifti_volume`, for errors of the header.
    """
    path = Path(path)
    with _name_read_errors(path), _open(path) as stream:
        header = _read_header(path, stream)
    shape = tuple(int(size) for size in header.get_data_shape())
    shape += (1,) * max(0, 3 - len(shape))
    stored = header.get_data_dtype().itemsize
    slope, intercept = header.get_slope_inter()
    scaled = 0 if slope in (None, 1) and not intercept else 2 * max(4, stored)
    affine, _ = read_nifti_affine(path, header)
    return Grid(shape, affine, stored + scaled, path)


def write_nifti_labels(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write an integer label map atomically, in the smallest integer type.

    Args:
        path: where to write.
        array: (i, j, k) integers on the axes of the input file.
        affine: affine of the input file.
        like: header of the input file (`Volume.header`); its orientation codes and units are kept.

    Raises:
        DataError: if the array is not of an integer type.
    """
    return write_nifti_volume(path, to_smallest_int(path, array), affine, like)


def to_smallest_int(path: str | Path, array: NDArray[Any]) -> NDArray[Any]:
    """Return labels as the smallest of uint8, int16 and int32 that holds them.

    Raises:
        DataError: if the array is not of an integer type.
    """
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != np.bool_:
        raise DataError(f"{path}: labels are {array.dtype}, integers are expected; take the argmax first")
    lowest, highest = (int(array.min()), int(array.max())) if array.size else (0, 0)
    dtype = (
        np.uint8 if lowest >= 0 and highest < 256 else np.int16 if lowest >= -(2**15) and highest < 2**15 else np.int32
    )
    return array.astype(dtype, copy=False)


def write_nifti_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write voxels as they are, atomically; the same input always gives the same bytes.

    Args:
        like: header of the input file; where that has fewer axes, those of length 1 are left out again.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: the suffix must be {' or '.join(SUFFIXES)}; choose such a name")
    header = nib.Nifti1Header() if like is None else nib.Nifti1Header.from_header(like)
    stated = header.get_data_shape() if like is not None else array.shape
    if len(stated) < array.ndim and array.shape == (*stated, *(1,) * (array.ndim - len(stated))):
        array = array.reshape(stated)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, b"dimlift"
    header.extensions.clear()
    if header.get_xyzt_units()[0] in ("meter", "micron"):  # affines are in millimetres whatever the input states
        header.set_xyzt_units("mm", header.get_xyzt_units()[1])
    image = nib.Nifti1Image(array, affine, None if like is None else header)
    image.header.set_slope_inter(1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 5, stream, mtime=0) as compressed:
                image.to_stream(compressed)
        else:
            image.to_stream(stream)
    return path


@contextlib.contextmanager
def _name_read_errors(path: Path) -> Iterator[None]:
    """Convert read errors into errors that name the file."""
    if not path.is_file():
        raise Issue(str(path), "error", "does not exist", "restore it, or remove its case").as_error()
    try:
        yield
    except (EOFError, OSError, zlib.error) as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            message = f"cannot be read: {fault.strerror}"
            raise Issue(str(path), "error", message, "check the disk and the file permissions").as_error() from fault
        size = path.stat().st_size
        raise _corrupt(path, f"has a corrupt gzip stream ({fault}), {size} bytes on disk") from fault


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        if _is_compressed(path):
            with gzip.GzipFile(fileobj=stream) as decompressed:
                yield decompressed  # type: ignore[misc]
        else:
            yield stream


def _is_compressed(path: Path) -> bool:
    """Whether the content is gzip; renamed files have `.gz` without being it, or are it without `.gz`."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _read_header(path: Path, stream: IO[bytes]) -> Any:
    """Read and validate the header; the stream is then at its end."""
    start = stream.read(4)
    size = next((n for n in (348, 540) if n in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))), 0)
    if not size:
        raise _corrupt(path, f"begins with the bytes {start!r}, which is not a NIfTI header")
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise _corrupt(path, f"ends after {len(block)} bytes; the header alone has {size}")
    try:
        header = (nib.Nifti1Header if size == 348 else nib.Nifti2Header)(block)
        header.get_data_dtype()
        header.get_slope_inter()
    except (WrapStructError, HeaderDataError, ValueError, TypeError, KeyError) as fault:
        raise _corrupt(path, f"has an invalid header ({fault})") from fault
    magic = bytes(header["magic"].item())
    if not magic.startswith(b"n+"):
        raise _corrupt(path, f"has the magic {magic!r}; 'n+1' or 'n+2' is expected")
    return header


def _read_payload(path: Path, stream: IO[bytes], header: Any) -> NDArray[np.uint8]:
    """Read the voxel bytes: exactly as many as the header states, up to the end of the stream."""
    size, gap = _payload_size(path, header)
    head = int(header["sizeof_hdr"])
    total = head + gap + size
    skipped = 0
    while skipped < gap and (piece := stream.read(min(READ_BYTES, gap - skipped))):
        skipped += len(piece)
    payload = np.zeros(size, np.uint8)  # pages are allocated when they are written, so a false size costs no memory
    view, filled = payload.data, 0
    try:
        while filled < size:
            # in small pieces: a truncated stream still returns the pieces before its end
            count = stream.readinto(view[filled : filled + READ_BYTES])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        rest = len(stream.read(1)) if filled == size else 0
    except EOFError as fault:
        message = f"is truncated: {head + skipped + filled} bytes found, {total} expected from its header"
        raise _corrupt(path, message) from fault
    if filled < size:
        raise _corrupt(path, f"is truncated: {head + skipped + filled} bytes found, {total} expected from its header")
    if rest:
        raise _corrupt(path, f"continues after the {total} bytes stated by its header")
    return payload


def _payload_size(path: Path, header: Any) -> tuple[int, int]:
    """Return the bytes of the voxels and the bytes between header and voxels, if the file can hold them."""
    shape = header.get_data_shape()
    if any(size < 1 for size in shape) or not shape:
        raise _corrupt(path, f"has the shape {tuple(shape)} in its header")
    payload = header.get_data_dtype().itemsize
    for size in shape:
        payload *= int(size)
    head = int(header["sizeof_hdr"])
    offset = float(header["vox_offset"])
    if not np.isfinite(offset):
        raise _corrupt(path, f"has the voxel offset {offset} in its header")
    gap = int(offset) - head
    if gap < 0:
        raise _corrupt(path, f"has the voxel offset {int(offset)} in its header, which is inside the header")
    on_disk = path.stat().st_size
    compressed = _is_compressed(path)
    possible = (on_disk + _GZIP_OVERHEAD) * _GZIP_MAX_RATIO if compressed else on_disk
    if head + gap + payload > possible:
        raise _corrupt(
            path,
            f"states {head + gap + payload} bytes in its header, "
            f"but the file has {on_disk}{', which cannot decompress to so many' if compressed else ''}",
        )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if payload > memory:
        message = f"states {payload:,} bytes of voxels in its header; this machine has {memory:,} bytes of memory"
        raise Issue(str(path), "error", message, "split it, or use a larger machine").as_error()
    return payload, gap


def _scaling(header: Any) -> tuple[Any, Any]:
    """Return slope and intercept (None if absent), in single precision where that is exact enough for the voxels."""
    slope, intercept = header.get_slope_inter()
    if header.get_data_dtype().itemsize > 2:
        return slope, intercept
    return tuple(None if number is None else np.float32(number) for number in (slope, intercept))  # type: ignore[return-value]


def _as_volume(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iufb":
        message = f"has voxels of type {array.dtype}; one real number per voxel is expected"
        raise Issue(str(path), "error", message, "convert it to one number per voxel").as_error()
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = array.squeeze(axis=3 + array.shape[3:].index(1))
    if array.ndim > 4:
        message = f"has the shape {array.shape}; three axes, or four with the channels last, are expected"
        raise Issue(str(path), "error", message, "save one volume per file").as_error()
    return array.reshape(array.shape + (1,) * max(0, 3 - array.ndim))


def _corrupt(path: Path, message: str) -> DataError:
    return Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)
