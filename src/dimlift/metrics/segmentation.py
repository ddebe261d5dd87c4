"""How well one predicted mask fits one true mask.

One rule for empty masks holds for all: both empty is undefined (None: left out of means, and counted); one of them
empty is the worst value there is (Dice 0, NSD 0, HD95 the diagonal of the volume in mm), never a case to skip.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from dimlift.errors import ShapeError
from dimlift.metrics.surface import surface_distances

Mask = Bool[np.ndarray, "*grid"]


def dice(prediction: Mask, truth: Mask) -> float | None:
    """Twice the common voxels over the sum of both; 1 is perfect.

    Raises:
        ShapeError: if the masks have different shapes.
    """
    _check(prediction, truth)
    size = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / size if size else None


def hd95_mm(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> float | None:
    """The larger of the two directed 95th percentiles of the surface distances, in mm; 0 is perfect.

    Directed first, then the larger: a prediction that misses a whole part of the truth is not diluted by its own well
    placed surface, as it would be if all distances were pooled. Percentiles are interpolated linearly (as MONAI does).

    Args:
        spacing: voxel size in mm, one number per axis, in the order of the axes.

    Raises:
        ShapeError: if the masks have different shapes, or spacing has another length.
    """
    _check(prediction, truth, spacing)
    if not prediction.any() and not truth.any():
        return None
    if not prediction.any() or not truth.any():
        return float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    there, back = surface_distances(prediction, truth, spacing)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def nsd(prediction: Mask, truth: Mask, spacing: Sequence[float], tolerance_mm: float = 1.0) -> float | None:
    """Normalised surface Dice: the share of both surfaces that lies within `tolerance_mm` of the other; 1 is perfect.

    Every surface voxel counts the same.

    Args:
        spacing: voxel size in mm, one number per axis, in the order of the axes.
        tolerance_mm: how far apart two surfaces may lie and still agree.

    Raises:
        ShapeError: if the masks have different shapes, or spacing has another length.
    """
    _check(prediction, truth, spacing)
    if not prediction.any() and not truth.any():
        return None
    if not prediction.any() or not truth.any():
        return 0.0
    there, back = surface_distances(prediction, truth, spacing)
    near = np.count_nonzero(there <= tolerance_mm) + np.count_nonzero(back <= tolerance_mm)
    return float(near / (there.size + back.size))


def _check(prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> None:
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "bring the prediction back to the image's geometry first"
        )
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ShapeError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}; compare with a label first")
    if spacing is not None and len(spacing) != truth.ndim:
        raise ShapeError(f"spacing {tuple(spacing)} must give one size in mm for each of the {truth.ndim} axes")
