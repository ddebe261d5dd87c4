"""Where a NIfTI file says it lies: it says so up to three times, and readers differ in whom they believe.

nibabel takes the sform, then the qform; ITK takes spacing from pixdim and the rest from either. A file whose statements
differ is one volume to one program and another to the next. Here the sform counts, then the qform, as in nibabel;
a contradiction in size or in left and right is refused, any other is remarked upon.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from dimlift.data.issue import Finding
from dimlift.data.volume import CORNER_TOLERANCE, corner_distance, require_upright, voxel_sizes
from dimlift.errors import DamagedFile

_UNITS = {1: "metres", 3: "micrometres"}
_EXPORT_AGAIN = "export it again from its source, or drop the wrong one (set its code to 0)"


def read_frame(path: Path, header: Any) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """The affine of a NIfTI header, and what is odd about it.

    Returns:
        (4, 4) voxel index to millimetres (right, anterior, superior), and warnings.

    Raises:
        DataError: no frame in space, a sheared one, one in other units than millimetres, one whose voxel sizes differ
            from pixdim by more than 0.1 voxel over the volume, or an sform and a qform along other axes.
        DamagedFile: if the quaternion is none.
    """
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        qform = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as fault:
        raise Finding(
            str(path), "error", f"its orientation cannot be understood ({fault})", "export it again from its source"
        ).as_error(DamagedFile) from fault
    i, j, k = (*(int(size) for size in header.get_data_shape()[:3]), 1, 1)[:3]
    shape = (i, j, k)
    require_upright(path, shape, affine)
    unit = int(header["xyzt_units"]) % 8
    if unit in _UNITS:
        remedy = "save it in millimetres (xyzt_units 2)"
        raise Finding(str(path), "error", f"states its lengths in {_UNITS[unit]}", remedy).as_error()
    _require_pixdim(path, shape, affine, header)
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        found = "states no orientation (sform and qform codes are 0): its left and right, and its place, are a guess"
        remedy = "export it again with its orientation; until then readers disagree about where it lies"
        return affine, (Finding(str(path), "warning", found, remedy),)
    if int(header["sform_code"]) == 0 or qform is None:
        return affine, ()
    return affine, _compare_forms(path, shape, affine, np.asarray(qform, dtype=np.float64))


def _require_pixdim(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64], header: Any) -> None:
    """Voxel sizes of affine and pixdim must cover the same extent; files of fewer than three axes state fewer sizes."""
    stated = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))[: int(header["dim"][0])]
    sizes = voxel_sizes(affine)[: len(stated)]
    off = np.abs(stated - sizes) / sizes * np.array(shape[: len(stated)])
    if not (off <= CORNER_TOLERANCE).all():
        found = f"has voxels of {_sizes(sizes)} mm by its sform but {_sizes(stated)} mm by its pixdim"
        raise Finding(str(path), "error", found, _EXPORT_AGAIN).as_error()


def _compare_forms(
    path: Path, shape: tuple[int, int, int], sform: NDArray[np.float64], qform: NDArray[np.float64]
) -> tuple[Finding, ...]:
    apart, millimetres = corner_distance(shape, sform, qform)
    if not apart > CORNER_TOLERANCE:
        return ()
    names = "".join(aff2axcodes(sform)), "".join(aff2axcodes(qform))
    if names[0] != names[1]:
        found = f"lies along {names[0]} by its sform and along {names[1]} by its qform"
        raise Finding(str(path), "error", found, _EXPORT_AGAIN).as_error()
    found = f"its sform and its qform lie {apart:.2f} voxels ({millimetres:.2f} mm) apart"
    remedy = "dimlift goes by the sform; other programs may go by the qform: drop the wrong one (set its code to 0)"
    return (Finding(str(path), "warning", found, remedy),)


def _sizes(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
