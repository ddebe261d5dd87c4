"""Numbers far from the scale that networks are made for: they learn badly from them, and nothing else would say so."""

from collections.abc import Sequence
from typing import Any

import numpy as np

LOOKED_AT = 4
"""Volumes that are measured."""


def remarks_on_scale(images: Sequence[Any]) -> list[str]:
    """A sentence for each channel whose values do not lie about 0 within some units, as preprocessing left them.

    Args:
        images: the training volumes (channels, depth, height, width), in memory or packed; some of them are measured.
    """
    places = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int))
    chosen = [np.asarray(images[place][:, :, :, :], np.float64) for place in places]
    remarks = []
    for channel in range(len(chosen[0])):
        mean = float(np.median([image[channel].mean() for image in chosen]))
        spread = float(np.median([image[channel].std() for image in chosen]))
        if not 0.1 <= spread <= 10 or abs(mean) > 10 * spread:
            remarks.append(
                f"channel {channel} has mean {mean:.3g} and standard deviation {spread:.3g} in the training volumes; "
                "networks learn best from about 0 and 1, and preprocessing.modality=mr scales every volume so"
            )
    return remarks
