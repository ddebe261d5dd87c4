"""Volumes as stored in their file, and their voxel grids: affine, spacing, distance between two grids."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.errors import GeometryMismatchError

CORNER_TOLERANCE = 0.1
"""Largest distance, in voxels, between corresponding corners of an image and its label on the same grid."""


@dataclass(frozen=True, eq=False)
class Volume:
    """The content of an image file.

    Attributes:
        array: voxels on the axes of the file, (i, j, k) or (i, j, k, channels), with intensity scaling applied.
        affine: (4, 4) voxel index to millimetres in world space (right, anterior, superior).
        path: the file.
        header: header of the file, so that outputs get exactly the same grid; None if there is none.
        issues: warnings of the reader.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    path: Path
    header: Any = field(default=None, repr=False)
    issues: tuple[Issue, ...] = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The three spatial sizes, in the order of the file."""
        i, j, k = self.array.shape[:3]
        return i, j, k


class Grid(NamedTuple):
    """The grid stated by a file's header.

    Attributes:
        shape: all axes, channels last.
        affine: see `Volume`.
        voxel_bytes: bytes per voxel while the file is read, including intensity scaling; an upper bound where the
            format does not state it.
        path: the file.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    voxel_bytes: int = 16
    path: Path = Path()


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the voxel size along each axis of the file in millimetres, shape (3,)."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def corner_distance(
    shape: tuple[int, int, int], affine: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the largest distance between corresponding corners of two grids of the same shape.

    Returns:
        Distance in voxels of the first grid, and in millimetres.
    """
    corners = np.array([[*corner, 1.0] for corner in product(*((-0.5, size - 0.5) for size in shape))]).T
    offsets = (other @ corners - affine @ corners)[:3]
    in_voxels = np.linalg.solve(affine[:3, :3], offsets)
    return float(np.linalg.norm(in_voxels, axis=0).max()), float(np.linalg.norm(offsets, axis=0).max())


def require_same_grid(image: Volume | Grid, other: Volume, tolerance: float = CORNER_TOLERANCE) -> None:
    """Raise unless two volumes are on the same grid.

    Args:
        tolerance: allowed distance between corresponding corners, in voxels.

    Raises:
        GeometryMismatchError: with both shapes, or the distance in voxels and millimetres.
    """
    fix = f"resample it onto the grid of {image.path.name}, or use the mask that was made for that file"
    if image.shape[:3] != other.shape:
        message = f"has {_format_shape(other.shape)} voxels, but {image.path} has {_format_shape(image.shape[:3])}"
        raise Issue(str(other.path), "error", message, fix).as_error(GeometryMismatchError)
    voxels, millimetres = corner_distance(other.shape, image.affine, other.affine)
    if voxels > tolerance:
        distance = f"{voxels:.2f} voxels ({millimetres:.2f} mm)"
        message = f"is displaced by {distance} from {image.path}; at most {tolerance} voxels are allowed"
        raise Issue(str(other.path), "error", message, fix).as_error(GeometryMismatchError)


def require_orthogonal(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> None:
    """Raise unless the axes of a grid are orthogonal, up to `CORNER_TOLERANCE` at the corners.

    On a sheared grid, spacings are not distances: every measurement in millimetres would be wrong.

    Raises:
        DataError: with the shear angle, or if the affine is singular or not finite.
    """
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        message = f"has the affine {affine[:3].tolist()}, which is singular or not finite"
        raise Issue(str(path), "error", message, "export it again from its source with its orientation").as_error()
    left, _, right = np.linalg.svd(affine[:3, :3] / sizes)
    orthogonal = affine.copy()
    orthogonal[:3, :3] = left @ right * sizes
    centre = (np.array(shape) - 1) / 2
    orthogonal[:3, 3] += (affine[:3, :3] - orthogonal[:3, :3]) @ centre
    voxels, _ = corner_distance(shape, affine, orthogonal)
    if voxels > CORNER_TOLERANCE:
        cosines = (affine[:3, :3] / sizes).T @ (affine[:3, :3] / sizes)
        angle = np.degrees(np.arcsin(min(1.0, float(np.abs(np.triu(cosines, 1)).max()))))
        message = f"has a sheared affine: its axes are {angle:.2f} degrees off, {voxels:.1f} voxels at a corner"
        fix = "resample it onto orthogonal axes; for a tilted gantry, convert its DICOM series with a tool that does so"
        raise Issue(str(path), "error", message, fix).as_error()


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
