"""Masks on the grid of their image.

A mask with other axes on the same grid (a DICOM series and the NIfTI file made from it have opposite row orders) is
reoriented, which changes no voxel. A mask on another grid is refused, unless resampling is enabled.
"""

import logging
from pathlib import Path

import numpy as np
from scipy import ndimage

from dimlift.data.io.readers import read_volume
from dimlift.data.issue import Issue
from dimlift.data.orientation import reorient_like
from dimlift.data.volume import Grid, Volume, require_same_grid
from dimlift.data.voxel_checks import count_labels, integer_labels
from dimlift.errors import GeometryMismatchError

_log = logging.getLogger(__name__)


def read_mask(path: Path, image: Volume | Grid, resample: bool = False) -> Volume:
    """Read a mask on the grid and the axes of its image.

    Args:
        path: the mask.
        image: the image or its grid.
        resample: accept a mask on another grid: each voxel of the image gets the nearest value of the mask, background
            outside of it.

    Raises:
        GeometryMismatchError: if the grids differ without `resample`, or if no label is inside the image.
        DataError: as the reader of the format.
    """
    return align_mask(read_volume(path), image, resample)


def align_mask(mask: Volume, image: Volume | Grid, resample: bool = False) -> Volume:
    """Return a mask on the grid and the axes of its image; see `read_mask`."""
    array, affine = reorient_like(mask.array, mask.affine, image.affine)
    reoriented = Volume(array, affine, mask.path, mask.header, mask.issues)
    if not resample:
        require_same_grid(image, reoriented)
        return reoriented
    try:
        require_same_grid(image, reoriented)
    except GeometryMismatchError:
        return _resample(mask, image)
    return reoriented


def _resample(mask: Volume, image: Volume | Grid) -> Volume:
    values = integer_labels(mask)
    transform = np.linalg.inv(mask.affine) @ image.affine
    shape = tuple(image.shape[:3])
    resampled = ndimage.affine_transform(
        values, transform[:3, :3], transform[:3, 3], output_shape=shape, order=0, mode="constant", cval=0
    )
    lost = sorted(count_labels(values).keys() - count_labels(resampled).keys() - {0})
    if lost and not resampled.any():
        message = f"is outside of {image.path}: after resampling, none of its labels is left"
        fix = "use the image that it was drawn on"
        raise Issue(str(mask.path), "error", message, fix).as_error(GeometryMismatchError)
    if lost:
        _log.warning("%s: resampling onto %s loses the labels %s", mask.path, image.path, lost)
    message = f"is on another grid than {image.path}"
    fix = "nothing to do: it is resampled, as requested"
    issues = [*mask.issues, Issue(str(mask.path), "warning", message, fix)]
    if lost:
        message = f"loses the labels {lost} when it is resampled onto {image.path}"
        issues.append(Issue(str(mask.path), "warning", message, "draw them on the grid of the image"))
    return Volume(resampled, image.affine, mask.path, None, tuple(issues))
