"""Axes of a file to (depth, height, width) and back by flips and permutations only, so that no voxel value changes.

Arrays are first reoriented to right-anterior-superior, then transposed to (z, y, x) with the slice axis in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from dimlift.data.volume import voxel_sizes

Axis = Literal["z", "y", "x"]

ANISOTROPIC = 1.3
"""An axis whose spacing is more than this multiple of the next largest one becomes the slice axis."""

_ORDER: dict[Axis, tuple[Axis, Axis, Axis]] = {"z": ("z", "y", "x"), "y": ("y", "z", "x"), "x": ("x", "z", "y")}
_RAS_INDEX: dict[Axis, int] = {"x": 0, "y": 1, "z": 2}


def axis_order(slice_axis: Axis) -> tuple[Axis, Axis, Axis]:
    """Return the anatomical axes of depth, height and width: x left to right, y to anterior, z to superior."""
    return _ORDER[slice_axis]


def canonical_spacing(affine: NDArray[np.float64], slice_axis: Axis = "z") -> tuple[float, float, float]:
    """Return the spacing along depth, height and width in millimetres."""
    source = io_orientation(affine)
    sizes = voxel_sizes(affine)
    by_world = {int(world): float(size) for (world, _), size in zip(source, sizes, strict=True)}
    depth, height, width = (by_world[_RAS_INDEX[axis]] for axis in axis_order(slice_axis))
    return depth, height, width


def choose_slice_axis(spacings: Sequence[tuple[float, float, float]]) -> Axis:
    """Return the axis with a clearly larger median spacing than the others, else z.

    Args:
        spacings: (z, y, x) in millimetres, one per volume.
    """
    median = np.median(np.asarray(spacings), axis=0)
    order = np.argsort(median)
    if median[order[2]] > ANISOTROPIC * median[order[1]]:
        names: tuple[Axis, ...] = ("z", "y", "x")
        return names[int(order[2])]
    return "z"


def reorient_like(
    array: NDArray[Any], affine: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Flip and permute the axes of a volume to those of another affine; world positions of voxels do not change.

    Args:
        array: (i, j, k, ...) on the axes of `affine`.
        affine: (4, 4) voxel index to millimetres.
        target: affine whose axis order and directions are taken, to the nearest.

    Returns:
        The reoriented array and its affine.
    """
    transform = ornt_transform(io_orientation(affine), io_orientation(target))
    return apply_orientation(array, transform), affine @ inv_ornt_aff(transform, array.shape[:3])


@dataclass(frozen=True)
class Reorientation:
    """Transform from the axes of one file to (depth, height, width).

    Attributes:
        source: nibabel orientation of the file: the world axis and direction of each array axis.
        slice_axis: the anatomical axis that becomes depth.
    """

    source: tuple[tuple[int, int], ...]
    slice_axis: Axis

    @classmethod
    def from_affine(cls, affine: NDArray[np.float64], slice_axis: Axis) -> "Reorientation":
        """Return the transform for a file with this affine; oblique axes are rounded to the nearest world axes."""
        return cls(tuple((int(axis), int(sense)) for axis, sense in io_orientation(affine)), slice_axis)

    def forward(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array on the file's axes, (i, j, k, ...), as (depth, height, width, ...)."""
        canonical = apply_orientation(array, np.array(self.source))
        return canonical.transpose([*self._permutation(), *range(3, array.ndim)])

    def inverse(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array as (depth, height, width, ...) on the file's axes, (i, j, k, ...)."""
        canonical = array.transpose([*np.argsort(self._permutation()).tolist(), *range(3, array.ndim)])
        to_file = ornt_transform(axcodes2ornt("RAS"), np.array(self.source))
        return apply_orientation(canonical, to_file)

    def _permutation(self) -> list[int]:
        return [_RAS_INDEX[axis] for axis in axis_order(self.slice_axis)]
