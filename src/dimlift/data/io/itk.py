"""NRRD and MHA files through SimpleITK, which is imported only here. NIfTI files are never read with it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.itk_integrity import require_complete
from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume, require_orthogonal, voxel_sizes
from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class ItkFrame(NamedTuple):
    """Orientation in ITK's convention (left, posterior, superior), stored so that outputs repeat it exactly."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def read_itk_volume(path: str | Path) -> Volume:
    """Read a `.nrrd` or `.mha` file; several components become channels on the last axis.

    Raises:
        CorruptFileError: if the file is truncated, has a wrong checksum, or is of another format.
        DataError: if the volume does not have three axes, is complex, or is sheared.
    """
    path = Path(path)
    itk = _import_itk()
    with _name_read_errors(path):
        require_complete(path)
        image = itk.ReadImage(str(path), imageIO=_image_io(path))
    frame, affine = _read_frame(path, image)
    array = itk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        message = f"has voxels of type {image.GetPixelIDTypeAsString()}; real numbers are expected"
        raise Issue(str(path), "error", message, "convert it to one number per voxel").as_error()
    return Volume(array.transpose(2, 1, 0, *range(3, array.ndim)), affine, path, frame)


def read_itk_grid(path: str | Path) -> Grid:
    """Read shape and affine of a file from its header alone."""
    path = Path(path)
    with _name_read_errors(path):
        reader = _import_itk().ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO(_image_io(path))
        reader.ReadImageInformation()
    _, affine = _read_frame(path, reader)
    components = reader.GetNumberOfComponents()
    return Grid((*reader.GetSize(), *([components] if components > 1 else [])), affine, path=path)


def write_itk_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], like: Any = None) -> Path:
    """Write voxels as they are, compressed and atomically.

    Args:
        path: where to write.
        array: (i, j, k) on the axes of the input file.
        affine: affine of the input file; used where `like` is not an `ItkFrame`.
        like: the `ItkFrame` of the input (`Volume.header`).
    """
    path, itk = Path(path), _import_itk()
    image = itk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    frame = like if isinstance(like, ItkFrame) else _frame_from_affine(affine)
    image.SetSpacing(frame.spacing)
    image.SetOrigin(frame.origin)
    image.SetDirection(frame.direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        with_suffix = scratch.with_name(scratch.name + path.suffix)  # ITK chooses the format by the suffix
        try:
            itk.WriteImage(image, str(with_suffix), useCompression=True)
            os.replace(with_suffix, scratch)
        except RuntimeError as fault:
            raise DataError(f"{path} could not be written ({_reason(fault)}); check the space on the disk") from fault
        finally:
            with_suffix.unlink(missing_ok=True)
    return path


def _import_itk() -> Any:
    try:
        import SimpleITK
    except ImportError as fault:
        raise DataError("NRRD and MHA files need the itk extra: pip install 'dimlift[itk]'") from fault
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _image_io(path: Path) -> str:
    return "NrrdImageIO" if path.name.lower().endswith(".nrrd") else "MetaImageIO"


def _read_frame(path: Path, image: Any) -> tuple[ItkFrame, NDArray[np.float64]]:
    """Return the frame of an image or a reader, and its affine."""
    if image.GetDimension() != 3:
        message = f"has {image.GetDimension()} axes; three are expected"
        raise Issue(str(path), "error", message, "save one volume per file").as_error()
    frame = ItkFrame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    affine = np.eye(4)
    affine[:3, :3] = np.array(frame.direction).reshape(3, 3) * frame.spacing
    affine[:3, 3] = frame.origin
    i, j, k = image.GetSize()
    require_orthogonal(path, (i, j, k), affine)
    return frame, _LPS_TO_RAS @ affine


def _frame_from_affine(affine: NDArray[np.float64]) -> ItkFrame:
    lps = _LPS_TO_RAS @ affine
    sizes = voxel_sizes(lps)
    direction = (lps[:3, :3] / sizes).ravel().tolist()
    return ItkFrame(tuple(sizes.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction))


@contextlib.contextmanager
def _name_read_errors(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise Issue(str(path), "error", "does not exist", "restore it, or remove its case").as_error()
    try:
        yield
    except RuntimeError as fault:
        if isinstance(fault, DataError):
            raise
        message = f"cannot be read ({_reason(fault)})"
        raise Issue(str(path), "error", message, "export it again from its source").as_error(
            CorruptFileError
        ) from fault


def _reason(fault: RuntimeError) -> str:
    """Return the last sentence of an ITK message, which is the one about the file."""
    return str(fault).strip().splitlines()[-1].strip()
