"""A volume as it lies in its file, and the grid it lies on: voxel axes, affine, spacing, distance between two grids."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Finding
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
        remarks: what a reader has to say about the file, and yet reads it.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    path: Path
    header: Any = field(default=None, repr=False)
    remarks: tuple[Finding, ...] = field(default=(), repr=False)

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
    path: Path = Path()


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


def require_same_grid(image: Volume | Grid, other: Volume, tolerance: float = CORNER_TOLERANCE) -> None:
    """Stop unless two volumes lie on the same grid.

    Args:
        tolerance: allowed distance between corresponding corners, in voxels.

    Raises:
        GeometryMismatch: with both shapes, or the distance in voxels and millimetres.
    """
    remedy = f"resample it onto the grid of {image.path.name}, or find the file it was drawn on"
    if image.shape[:3] != other.shape:
        found = f"has {_sizes(other.shape)} voxels, but {image.path} has {_sizes(image.shape[:3])}"
        raise Finding(str(other.path), "error", found, remedy).as_error(GeometryMismatch)
    voxels, millimetres = corner_distance(other.shape, image.affine, other.affine)
    if voxels > tolerance:
        apart = f"{voxels:.2f} voxels ({millimetres:.2f} mm)"
        found = f"lies {apart} away from {image.path}, at most {tolerance} voxels are allowed"
        raise Finding(str(other.path), "error", found, remedy).as_error(GeometryMismatch)


def require_upright(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> None:
    """Stop unless the axes of a grid stand at right angles, up to `CORNER_TOLERANCE` at the corners.

    Spacings along axes that lean mean no distance: every millimetre measured on such a grid would be wrong.

    Raises:
        DataError: with the angle, or if the affine is no frame in space at all.
    """
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        found = f"its affine {affine[:3].tolist()} is no frame in space"
        raise Finding(str(path), "error", found, "export it again from its source with its orientation").as_error()
    left, _, right = np.linalg.svd(affine[:3, :3] / sizes)
    upright = affine.copy()
    upright[:3, :3] = left @ right * sizes
    centre = (np.array(shape) - 1) / 2
    upright[:3, 3] += (affine[:3, :3] - upright[:3, :3]) @ centre
    voxels, _ = corner_distance(shape, affine, upright)
    if voxels > CORNER_TOLERANCE:
        cosines = (affine[:3, :3] / sizes).T @ (affine[:3, :3] / sizes)
        lean = np.degrees(np.arcsin(min(1.0, float(np.abs(np.triu(cosines, 1)).max()))))
        found = f"its axes lean by {lean:.2f} degrees (a sheared affine, {voxels:.1f} voxels off at a corner)"
        remedy = "resample it onto upright axes; for a tilted gantry, convert its DICOM series with a tool that does so"
        raise Finding(str(path), "error", found, remedy).as_error()


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
