"""Normalise a point cloud to the unit sphere."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


def in_unit_ball(cloud: Points) -> Points:
    """The cloud around its mean, its farthest point at distance one."""
    centred = cloud - cloud.mean(0, dtype=np.float64)
    return (centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)).astype(np.float32)
