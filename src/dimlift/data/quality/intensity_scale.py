"""Warn about intensities far from zero mean and unit variance, with which networks train badly."""

from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_VOLUMES = 4
"""Number of volumes that are measured."""


def check_intensity_scale(images: Sequence[Any]) -> list[str]:
    """Return one message per channel whose preprocessed values are not within a few units of zero.

    Args:
        images: the training volumes (channels, depth, height, width), in memory or on disk; some of them are measured.
    """
    indices = np.unique(np.linspace(0, len(images) - 1, NUM_VOLUMES).astype(int))
    chosen = [np.asarray(images[index][:, :, :, :], np.float64) for index in indices]
    messages = []
    for channel in range(len(chosen[0])):
        mean = float(np.median([image[channel].mean() for image in chosen]))
        std = float(np.median([image[channel].std() for image in chosen]))
        if not 0.1 <= std <= 10 or abs(mean) > 10 * std:
            messages.append(
                f"channel {channel} has mean {mean:.3g} and standard deviation {std:.3g} in the training volumes; "
                "networks train best at about 0 and 1; preprocessing.modality=mr normalises every volume to that"
            )
    return messages
