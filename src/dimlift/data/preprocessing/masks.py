"""Masks on the grid of their image.

A mask may lie on other axes of the same grid (a DICOM series and the NIfTI file made from it run through their rows in
opposite senses): it is turned, and no voxel changes. On any other grid it is refused, unless resampling was asked for.
"""

import logging
from pathlib import Path

import numpy as np
from scipy import ndimage

from dimlift.data.io.readers import read_file
from dimlift.data.issue import Finding
from dimlift.data.orientation import lay_along
from dimlift.data.volume import Grid, Volume, require_same_grid
from dimlift.data.voxel_checks import count_labels, read_integers
from dimlift.errors import GeometryMismatch

_log = logging.getLogger(__name__)


def read_mask(path: Path, image: Volume | Grid, resample: bool = False) -> Volume:
    """Read a mask on the grid and the axes of its image.

    Args:
        resample: take a mask on another grid too: each voxel of the image gets the mask's value nearest to it,
            background outside of it.

    Raises:
        GeometryMismatch: on another grid without `resample`, or with it where all labels lie outside of the image.
        DataError: what its reader raises.
    """
    return fit_mask(read_file(path), image, resample)


def fit_mask(mask: Volume, image: Volume | Grid, resample: bool = False) -> Volume:
    """Lay a mask that was read already on the grid of its image; as `read_mask`."""
    array, affine = lay_along(mask.array, mask.affine, image.affine)
    turned = Volume(array, affine, mask.path, mask.header, mask.remarks)
    if not resample:
        require_same_grid(image, turned)
        return turned
    try:
        require_same_grid(image, turned)
    except GeometryMismatch:
        return _resampled(mask, image)
    return turned


def _resampled(mask: Volume, image: Volume | Grid) -> Volume:
    values = read_integers(mask)
    step = np.linalg.inv(mask.affine) @ image.affine
    shape = tuple(image.shape[:3])
    placed = ndimage.affine_transform(
        values, step[:3, :3], step[:3, 3], output_shape=shape, order=0, mode="constant", cval=0
    )
    lost = sorted(count_labels(values).keys() - count_labels(placed).keys() - {0})
    if lost and not placed.any():
        found = f"lies wholly outside of {image.path}: resampled onto it, none of its labels is left"
        raise Finding(str(mask.path), "error", found, "find the image it was drawn on").as_error(GeometryMismatch)
    if lost:
        _log.warning("%s: resampled onto %s, the labels %s are lost", mask.path, image.path, lost)
    found = f"lies on another grid than {image.path}"
    remarks = [*mask.remarks, Finding(str(mask.path), "warning", found, "nothing to do: it is resampled, as asked for")]
    if lost:
        words = f"loses the labels {lost} when resampled onto {image.path}"
        remarks.append(Finding(str(mask.path), "warning", words, "draw them on the image's own grid"))
    return Volume(placed, image.affine, mask.path, None, tuple(remarks))
