"""Gravity in RGB-D recordings: people hold cameras level on average, so the mean of their upward axes points up."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dimlift.errors import DataError

LEAST_AGREEMENT = 0.3
"""Least length of the mean of the cameras' upward unit vectors, which cancel out if the cameras are rolled."""


def mean_up_direction(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vector in the world that points up on average.

    Args:
        poses: (frames, 4, 4) camera-to-world; the y axis of a camera points down.

    Raises:
        DataError: if the cameras do not agree.
    """
    mean = -poses[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < LEAST_AGREEMENT:
        raise DataError(
            "the poses do not determine which way is up: the cameras are turned about their optical axes by different "
            "angles; pretrain on frames whose cameras are upright"
        )
    return mean / length


def rotation_to_axis(direction: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the (3, 3) rotation by the smallest angle that turns a unit vector onto a positive axis."""
    target = np.eye(3)[axis]
    normal = np.cross(direction, target)
    sine, cosine = float(np.linalg.norm(normal)), float(direction @ target)
    if sine < 1e-9:  # parallel, or opposite: half a turn about another axis
        return np.eye(3) if cosine > 0 else Rotation.from_rotvec(np.pi * np.eye(3)[(axis + 1) % 3]).as_matrix()
    return Rotation.from_rotvec(normal / sine * np.arctan2(sine, cosine)).as_matrix()
