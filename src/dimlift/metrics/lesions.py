"""Lesion by lesion: how many true lesions were found, and how many were invented.

A lesion is a connected component of a mask: voxels that share a face, an edge or a corner belong together. A true
lesion is matched with all predicted ones that share a voxel with it taken together, and the other way round, so that a
lesion drawn in two pieces is found once and neither piece is false.
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
        found: those of them that the prediction matches.
        predicted: lesions of the prediction.
        false: those of them that match nothing true.
    """

    true: int
    found: int
    predicted: int
    false: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the true lesions that were found; None where there are none to find."""
        return self.found / self.true if self.true else None


def count_lesions(prediction: Mask, truth: Mask, overlap: float = 0.0) -> LesionCounts:
    """Match lesions of the prediction with those of the truth.

    Args:
        overlap: a lesion matches if its intersection over union with what touches it on the other side is larger than
            this; 0 asks for one common voxel.

    Raises:
        ShapeError: if the masks have different shapes, or overlap is not in [0, 1).
    """
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "bring the prediction back to the image's geometry first"
        )
    if not 0 <= overlap < 1:
        raise ShapeError(f"overlap is {overlap}; a share from 0 (any common voxel) to below 1 is wanted")
    predicted, n_predicted = _components(prediction)
    true, n_true = _components(truth)
    return LesionCounts(
        n_true,
        _matched(true, n_true, predicted, overlap),
        n_predicted,
        n_predicted - _matched(predicted, n_predicted, true, overlap),
    )


def _components(mask: Mask) -> tuple[Int[np.ndarray, "*grid"], int]:
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))


def _matched(own: Int[np.ndarray, "*grid"], count: int, others: Int[np.ndarray, "*grid"], overlap: float) -> int:
    """How many of `own` match what touches them among `others`."""
    both = (own > 0) & (others > 0)
    pairs = np.unique(np.stack([own[both], others[both]]), axis=1)
    sizes, other_sizes = np.bincount(own.ravel(), minlength=count + 1), np.bincount(others.ravel())
    common = np.bincount(own[both], minlength=count + 1)
    touching = np.bincount(pairs[0], weights=other_sizes[pairs[1]], minlength=count + 1)
    union = sizes + touching - common
    return int(np.count_nonzero((common > overlap * union)[1:]))
