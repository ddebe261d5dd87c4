"""NRRD and MHA files through SimpleITK, which is imported here and nowhere else. NIfTI never goes this way."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.itk_integrity import require_whole
from dimlift.data.issue import Finding
from dimlift.data.volume import Grid, Volume, require_upright, voxel_sizes
from dimlift.errors import DamagedFile, DataError
from dimlift.records.atomic_write import written_whole

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's world runs to left and posterior, dimlift's to right and anterior."""


class Frame(NamedTuple):
    """Where a volume lies in ITK's words, kept as it was read so that outputs repeat it to the last digit."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def read_volume(path: str | Path) -> Volume:
    """Read a `.nrrd` or `.mha` file whose voxels are whole; several components become channels on the last axis.

    Raises:
        DamagedFile: cut off, a wrong checksum, or no such file at all.
        DataError: not three-dimensional, complex, or sheared.
    """
    path = Path(path)
    itk = _library()
    with _faults_named(path):
        require_whole(path)
        image = itk.ReadImage(str(path), imageIO=_io(path))
    frame, affine = _frame(path, image)
    array = itk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        found = f"has voxels of type {image.GetPixelIDTypeAsString()}, real numbers are wanted"
        raise Finding(str(path), "error", found, "convert it to one number per voxel").as_error()
    return Volume(array.transpose(2, 1, 0, *range(3, array.ndim)), affine, path, frame)


def read_grid(path: str | Path) -> Grid:
    """Shape and affine of a file, from its header alone."""
    path = Path(path)
    with _faults_named(path):
        reader = _library().ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO(_io(path))
        reader.ReadImageInformation()
    _, affine = _frame(path, reader)
    components = reader.GetNumberOfComponents()
    return Grid((*reader.GetSize(), *([components] if components > 1 else [])), affine, path=path)


def write_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write voxels as they are, compressed, in one piece: a reader sees the whole file or none.

    Args:
        array: (i, j, k) on the axes of the input file.
        like: the `Frame` of the input; without one, or for an input of another format, the affine is taken apart.
    """
    path, itk = Path(path), _library()
    image = itk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    frame = like if isinstance(like, Frame) else _frame_of(affine)
    image.SetSpacing(frame.spacing)
    image.SetOrigin(frame.origin)
    image.SetDirection(frame.direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as scratch:
        named = scratch.with_name(scratch.name + path.suffix)  # ITK goes by the suffix
        try:
            itk.WriteImage(image, str(named), useCompression=True)
            os.replace(named, scratch)
        except RuntimeError as fault:
            raise DataError(f"{path} could not be written ({_reason(fault)}); is the disk full?") from fault
        finally:
            named.unlink(missing_ok=True)
    return path


def _library() -> Any:
    try:
        import SimpleITK
    except ImportError as fault:
        raise DataError("NRRD and MHA files need the itk extra: pip install 'dimlift[itk]'") from fault
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _io(path: Path) -> str:
    return "NrrdImageIO" if path.name.lower().endswith(".nrrd") else "MetaImageIO"


def _frame(path: Path, image: Any) -> tuple[Frame, NDArray[np.float64]]:
    """The frame of an image or a reader, and its affine."""
    if image.GetDimension() != 3:
        found = f"has {image.GetDimension()} axes, three are wanted"
        raise Finding(str(path), "error", found, "save one volume per file").as_error()
    frame = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    affine = np.eye(4)
    affine[:3, :3] = np.array(frame.direction).reshape(3, 3) * frame.spacing
    affine[:3, 3] = frame.origin
    i, j, k = image.GetSize()
    require_upright(path, (i, j, k), affine)
    return frame, _FLIP @ affine


def _frame_of(affine: NDArray[np.float64]) -> Frame:
    flipped = _FLIP @ affine
    sizes = voxel_sizes(flipped)
    direction = (flipped[:3, :3] / sizes).ravel().tolist()
    return Frame(tuple(sizes.tolist()), tuple(flipped[:3, 3].tolist()), tuple(direction))


@contextlib.contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise Finding(str(path), "error", "there is no such file", "restore it, or take its case out").as_error()
    try:
        yield
    except RuntimeError as fault:
        if isinstance(fault, DataError):
            raise
        found = f"cannot be read ({_reason(fault)})"
        raise Finding(str(path), "error", found, "export it again from its source").as_error(DamagedFile) from fault


def _reason(fault: RuntimeError) -> str:
    """The last sentence of an ITK message, which is the one about the file."""
    return str(fault).strip().splitlines()[-1].strip()
