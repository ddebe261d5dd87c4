"""Distances between the surfaces of two masks in millimetres.

The surface of a mask is its voxels with a face outside of it; beyond the volume is outside. Distances are between voxel
centres. Only the bounding box of both masks is processed, so the time depends on the object and not on the volume.

- Hausdorff distance and its percentiles: Huttenlocher et al., 1993, https://doi.org/10.1109/34.232073
- Normalised surface Dice: Nikolov et al., 2018, https://arxiv.org/abs/1809.04430
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Mask = Bool[np.ndarray, "*grid"]


def crop_to_masks(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Crop both masks to their common bounding box with a margin of one empty voxel.

    The margin makes the edge of the volume an outside, so that a mask that touches it has a surface there.
    """
    either = prediction | truth
    box = []
    for axis in range(either.ndim):
        others = tuple(other for other in range(either.ndim) if other != axis)
        occupied = np.flatnonzero(either.any(axis=others))
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return np.pad(prediction[tuple(box)], 1), np.pad(truth[tuple(box)], 1)


def surface_distances(
    prediction: Mask, truth: Mask, spacing: Sequence[float]
) -> tuple[Float[np.ndarray, " prediction_voxels"], Float[np.ndarray, " truth_voxels"]]:
    """Return the distance of each surface voxel to the surface of the other mask; neither mask may be empty.

    Args:
        prediction: predicted mask.
        truth: true mask.
        spacing: voxel size in mm, one number per axis.

    Returns:
        Distances in mm from the surface of the prediction to that of the truth, and vice versa.
    """
    prediction, truth = crop_to_masks(prediction, truth)
    predicted_surface, true_surface = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth))
    to_truth = ndimage.distance_transform_edt(~true_surface, sampling=spacing)
    to_prediction = ndimage.distance_transform_edt(~predicted_surface, sampling=spacing)
    return to_truth[predicted_surface], to_prediction[true_surface]
