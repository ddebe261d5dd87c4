"""Keep the largest connected component of a class: a post-processing for organs that are one piece."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray
from scipy import ndimage

from dimlift.errors import ConfigError

CONNECTIVITY = np.ones((3, 3, 3), bool)
"""Voxels are connected by faces, edges and corners, as in the lesion metrics."""


def keep_largest_components(
    labels: Integer[NDArray[np.integer], "depth height width"], indices: Sequence[int]
) -> Integer[NDArray[np.integer], "depth height width"]:
    """Return the label map with background in place of all but the largest component of each class in `indices`.

    Of components of one size the first in memory order is kept.
    """
    if not indices:
        return labels
    kept = labels.copy()
    for index in indices:
        mask = labels == index
        components, count = ndimage.label(mask, CONNECTIVITY)
        if count > 1:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            kept[mask & (components != sizes.argmax())] = 0
    return kept


def class_indices_named(names: Sequence[str], known: Mapping[str, int]) -> list[int]:
    """Return the class indices of labels.

    Raises:
        ConfigError: for a label that the run does not predict.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"the run predicts no label {name!r}; choose of: {', '.join(known)}")
    return [known[name] for name in names]
