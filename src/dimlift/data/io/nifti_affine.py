"""Affine of a NIfTI file, which states its orientation up to three times (sform, qform, pixdim).

nibabel uses the sform, then the qform; ITK takes the spacing from pixdim and the rest from either. A file whose
statements differ is a different volume to each of them. Here the sform is used, then the qform, as in nibabel; a
contradiction in size or in the order of axes is an error, any other is a warning.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.data.volume import CORNER_TOLERANCE, corner_distance, require_orthogonal, voxel_sizes
from dimlift.errors import CorruptFileError

_UNITS = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}
"""Names of the units of length by their code, and their length in millimetres."""
_FIX = "export it again from its source, or disable the wrong one (set its code to 0)"


def read_nifti_affine(path: Path, header: Any) -> tuple[NDArray[np.float64], tuple[Issue, ...]]:
    """Return the affine of a NIfTI header, and warnings about it.

    Returns:
        (4, 4) voxel index to millimetres (right, anterior, superior), and warnings.

    Raises:
        DataError: if the affine is singular or sheared, if the voxel sizes differ from pixdim by more than 0.1 voxel
            over the volume, or if sform and qform have different axes.
        CorruptFileError: if the quaternion is invalid.
    """
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        qform = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as fault:
        message, fix = f"has an invalid orientation ({fault})", "export it again from its source"
        raise Issue(str(path), "error", message, fix).as_error(CorruptFileError) from fault
    i, j, k = (*(int(size) for size in header.get_data_shape()[:3]), 1, 1)[:3]
    shape = (i, j, k)
    require_orthogonal(path, shape, affine)
    _require_pixdim(path, shape, affine, header)
    to_mm, converted = _unit_conversion(path, affine, header)
    affine = to_mm @ affine
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        message = "states no orientation (sform and qform codes are 0): left and right, and its position, are a guess"
        fix = "export it again with its orientation; until then readers disagree about its position"
        return affine, (*converted, Issue(str(path), "warning", message, fix))
    if int(header["sform_code"]) == 0 or qform is None:
        return affine, converted
    return affine, (*converted, *_compare_forms(path, shape, affine, to_mm @ np.asarray(qform, dtype=np.float64)))


def _unit_conversion(
    path: Path, affine: NDArray[np.float64], header: Any
) -> tuple[NDArray[np.float64], tuple[Issue, ...]]:
    """Return the (4, 4) scaling from the unit of a file to millimetres, and a warning if it states another unit."""
    unit = int(header["xyzt_units"]) % 8
    if unit not in _UNITS:
        return np.eye(4), ()
    name, factor = _UNITS[unit]
    sizes = _format_sizes(factor * voxel_sizes(affine))
    message = f"states its lengths in {name}; its voxels are read as {sizes} mm"
    fix = "nothing to do if that is right; if its numbers are millimetres, set xyzt_units to 2"
    return np.diag([factor, factor, factor, 1.0]), (Issue(str(path), "warning", message, fix),)


def _require_pixdim(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64], header: Any) -> None:
    """Raise unless affine and pixdim cover the same extent; files of fewer than three axes state fewer sizes."""
    stated = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))[: int(header["dim"][0])]
    sizes = voxel_sizes(affine)[: len(stated)]
    difference = np.abs(stated - sizes) / sizes * np.array(shape[: len(stated)])
    if not (difference <= CORNER_TOLERANCE).all():
        message = f"has voxels of {_format_sizes(sizes)} mm by its sform but {_format_sizes(stated)} mm by its pixdim"
        raise Issue(str(path), "error", message, _FIX).as_error()


def _compare_forms(
    path: Path, shape: tuple[int, int, int], sform: NDArray[np.float64], qform: NDArray[np.float64]
) -> tuple[Issue, ...]:
    voxels, millimetres = corner_distance(shape, sform, qform)
    if not voxels > CORNER_TOLERANCE:
        return ()
    names = "".join(aff2axcodes(sform)), "".join(aff2axcodes(qform))
    if names[0] != names[1]:
        message = f"has the axes {names[0]} by its sform and {names[1]} by its qform"
        raise Issue(str(path), "error", message, _FIX).as_error()
    message = f"has an sform and a qform that differ by {voxels:.2f} voxels ({millimetres:.2f} mm)"
    fix = "dimlift uses the sform; other programs may use the qform: disable the wrong one (set its code to 0)"
    return (Issue(str(path), "warning", message, fix),)


def _format_sizes(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
