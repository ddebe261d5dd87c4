"""A volume as it lies in its file, and the grid it lies on: voxel axes, affine, spacing, distance between two grids."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.findings import Finding
from dimlift.errors import GeometryMismatch

CORNER_TOLERANCE = 0.1
"""Largest distance, in voxels, between corresponding corners of an image and its label that counts as the same grid."""


@dataclass(frozen=True, eq=False)
class Volume:
    """What a file holds.

    Attributes:
        array: voxels on the axes of the file, (i, j, k) or (i, j, k, channels), intensity scaling applied.
        affine: (4, 4) voxel index to millimetres in world space (right, anterior, superior).
        path: where it was read.
        header: the file's own header, so that an output can lie on exactly the same grid; None if there is none.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    path: Path
    header: Any = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The three spatial sizes, in the order of the file."""
        i, j, k = self.array.shape[:3]
        return i, j, k


class Grid(NamedTuple):
    """What a file's header says of its grid: all axes (channels last), and the affine of `Volume`.

    `voxel_bytes` is what a voxel takes while it is read, as it is stored and with its scaling; the most where a format
    does not say.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    voxel_bytes: int = 16


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of a voxel along each axis of the file, in millimetres; (3,)."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def corner_distance(
    shape: tuple[int, int, int], affine: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[float, float]:
    """How far apart two grids of one shape lie: the largest distance over the eight corners.

    Returns:
        distance in voxels of the first grid, distance in millimetres.
    """
    corners = np.array([[*corner, 1.0] for corner in product(*((-0.5, size - 0.5) for size in shape))]).T
    apart = (other @ corners - affine @ corners)[:3]
    in_voxels = np.linalg.solve(affine[:3, :3], apart)
    return float(np.linalg.norm(in_voxels, axis=0).max()), float(np.linalg.norm(apart, axis=0).max())


def require_same_grid(image: Volume, other: Volume, tolerance: float = CORNER_TOLERANCE) -> None:
    """Stop unless two volumes lie on the same grid.

    Args:
        tolerance: allowed distance between corresponding corners, in voxels.

    Raises:
        GeometryMismatch: with both shapes, or the distance in voxels and millimetres.
    """
    remedy = f"resample it onto the grid of {image.path.name}, or find the file it was drawn on"
    if image.shape != other.shape:
        found = f"has {_sizes(other.shape)} voxels, but {image.path} has {_sizes(image.shape)}"
        raise Finding(str(other.path), "error", found, remedy).as_error(GeometryMismatch)
    voxels, millimetres = corner_distance(image.shape, image.affine, other.affine)
    if voxels > tolerance:
        apart = f"{voxels:.2f} voxels ({millimetres:.2f} mm)"
        found = f"lies {apart} away from {image.path}, at most {tolerance} voxels are allowed"
        raise Finding(str(other.path), "error", found, remedy).as_error(GeometryMismatch)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
