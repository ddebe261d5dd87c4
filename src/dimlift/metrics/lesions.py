"""Lesion-wise detection: numbers of detected true lesions and of false positive lesions.

A lesion is a connected component of a mask (voxels that share a face, an edge or a corner). A true lesion is matched
with the union of all predicted lesions that share a voxel with it, and vice versa, so that a lesion predicted in two
pieces counts as detected once and neither piece is a false positive.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from dimlift.errors import ShapeError

Mask = Bool[np.ndarray, "*grid"]


class LesionCounts(NamedTuple):
    """Lesions of one class in one case.

    Attributes:
        true: lesions of the truth.
        found: true lesions that are matched.
        predicted: lesions of the prediction.
        false: predicted lesions that are not matched.
    """

    true: int
    found: int
    predicted: int
    false: int

    @property
    def sensitivity(self) -> float | None:
        """Fraction of true lesions that are found; None if there are none."""
        return self.found / self.true if self.true else None


def count_lesions(prediction: Mask, truth: Mask, overlap: float = 0.0) -> LesionCounts:
    """Match lesions of the prediction with those of the truth.

    Args:
        prediction: predicted mask.
        truth: true mask.
        overlap: a lesion is matched if its IoU with the union of the lesions that touch it is larger than this; 0
            requires one common voxel.

    Raises:
        ShapeError: if the masks have different shapes, or overlap is not in [0, 1).
    """
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "restore the prediction to the geometry of the image first"
        )
    if not 0 <= overlap < 1:
        raise ShapeError(f"overlap is {overlap}; a fraction from 0 (any common voxel) to below 1 is expected")
    predicted, num_predicted = _components(prediction)
    true, num_true = _components(truth)
    return LesionCounts(
        num_true,
        _count_matched(true, num_true, predicted, overlap),
        num_predicted,
        num_predicted - _count_matched(predicted, num_predicted, true, overlap),
    )


def _components(mask: Mask) -> tuple[Int[np.ndarray, "*grid"], int]:
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))


def _count_matched(own: Int[np.ndarray, "*grid"], count: int, others: Int[np.ndarray, "*grid"], overlap: float) -> int:
    """Return how many components of `own` match the union of the components of `others` that touch them."""
    both = (own > 0) & (others > 0)
    pairs = np.unique(np.stack([own[both], others[both]]), axis=1)
    sizes, other_sizes = np.bincount(own.ravel(), minlength=count + 1), np.bincount(others.ravel())
    common = np.bincount(own[both], minlength=count + 1)
    touching = np.bincount(pairs[0], weights=other_sizes[pairs[1]], minlength=count + 1)
    union = sizes + touching - common
    return int(np.count_nonzero((common > overlap * union)[1:]))
