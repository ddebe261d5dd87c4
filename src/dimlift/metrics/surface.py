"""Distances between the surfaces of two masks, in millimetres.

The surface of a mask is its voxels that have a face on the outside; what lies beyond the volume counts as outside.
Distances run between voxel centres. Only the box that holds both masks is looked at, so time follows the object, not
the scan.

- Hausdorff distance and its percentiles: Huttenlocher et al., 1993, https://doi.org/10.1109/34.232073
- Normalised surface Dice: Nikolov et al., 2018, https://arxiv.org/abs/1809.04430
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Mask = Bool[np.ndarray, "*grid"]


def crop_to_masks(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Both masks cut to the smallest box that holds every voxel of either, with one empty voxel around it.

    The margin makes the edge of the volume an outside, so that a mask that touches it has a surface there.
    """
    either = prediction | truth
    box = []
    for axis in range(either.ndim):
        others = tuple(other for other in range(either.ndim) if other != axis)
        hit = np.flatnonzero(either.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return np.pad(prediction[tuple(box)], 1), np.pad(truth[tuple(box)], 1)


def surface_distances(
    prediction: Mask, truth: Mask, spacing: Sequence[float]
) -> tuple[Float[np.ndarray, " prediction_voxels"], Float[np.ndarray, " truth_voxels"]]:
    """Distance of each surface voxel to the nearest surface voxel of the other mask; neither mask may be empty.

    Args:
        spacing: voxel size in mm, one number per axis, in the order of the axes.

    Returns:
        Distances in mm from the prediction's surface to the truth's, and from the truth's to the prediction's.
    """
    prediction, truth = crop_to_masks(prediction, truth)
    of_prediction, of_truth = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth))
    to_truth = ndimage.distance_transform_edt(~of_truth, sampling=spacing)
    to_prediction = ndimage.distance_transform_edt(~of_prediction, sampling=spacing)
    return to_truth[of_prediction], to_prediction[of_truth]
