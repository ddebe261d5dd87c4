"""Metrics of a predicted mask against a true mask.

All metrics treat empty masks alike: both empty is undefined (None: excluded from means, and counted); one empty is the
worst possible value (Dice 0, NSD 0, HD95 the diagonal of the volume in mm).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from dimlift.errors import ShapeError
from dimlift.metrics.surface import surface_distances

Mask = Bool[np.ndarray, "*grid"]


def dice(prediction: Mask, truth: Mask) -> float | None:
    """Return twice the intersection over the sum of both sizes; 1 is perfect.

    Raises:
        ShapeError: if the masks have different shapes.
    """
    _require_masks(prediction, truth)
    size = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / size if size else None


def hd95_mm(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> float | None:
    """Return the larger of the two directed 95th percentiles of the surface distances in mm; 0 is perfect.

    The maximum of directed percentiles, unlike a percentile of pooled distances, is sensitive to a missed part of the
    truth. Percentiles are interpolated linearly (as in MONAI).

    Args:
        prediction: predicted mask.
        truth: true mask.
        spacing: voxel size in mm, one number per axis.

    Raises:
        ShapeError: if the masks have different shapes, or spacing has another length.
    """
    _require_masks(prediction, truth, spacing)
    if not prediction.any() and not truth.any():
        return None
    if not prediction.any() or not truth.any():
        return float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    to_truth, to_prediction = surface_distances(prediction, truth, spacing)
    return float(max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)))


def nsd(prediction: Mask, truth: Mask, spacing: Sequence[float], tolerance_mm: float = 1.0) -> float | None:
    """Return the normalised surface Dice: the fraction of both surfaces within `tolerance_mm` of each other.

    Every surface voxel has the same weight; 1 is perfect.

    Args:
        prediction: predicted mask.
        truth: true mask.
        spacing: voxel size in mm, one number per axis.
        tolerance_mm: largest distance between surfaces that agree.

    Raises:
        ShapeError: if the masks have different shapes, or spacing has another length.
    """
    _require_masks(prediction, truth, spacing)
    if not prediction.any() and not truth.any():
        return None
    if not prediction.any() or not truth.any():
        return 0.0
    to_truth, to_prediction = surface_distances(prediction, truth, spacing)
    near = np.count_nonzero(to_truth <= tolerance_mm) + np.count_nonzero(to_prediction <= tolerance_mm)
    return float(near / (to_truth.size + to_prediction.size))


def _require_masks(prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> None:
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "restore the prediction to the geometry of the image first"
        )
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ShapeError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}; compare with a label first")
    if spacing is not None and len(spacing) != truth.ndim:
        raise ShapeError(f"spacing {tuple(spacing)} must have one size in mm for each of the {truth.ndim} axes")
