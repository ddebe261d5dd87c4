"""From the axes of a file to (depth, height, width), and back, by flips and permutations only: no voxel changes.

Whatever the patient's position in the scanner, arrays are first turned to right-anterior-superior, then laid out as
(z, y, x) with the through-plane axis moved to the front.
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
"""Spacing along an axis above this multiple of the next largest one makes that axis the through-plane axis."""

_ORDER: dict[Axis, tuple[Axis, Axis, Axis]] = {"z": ("z", "y", "x"), "y": ("y", "z", "x"), "x": ("x", "z", "y")}
_RAS_INDEX: dict[Axis, int] = {"x": 0, "y": 1, "z": 2}


def axes_of(through_plane: Axis) -> tuple[Axis, Axis, Axis]:
    """The anatomical axes that become depth, height and width: x left to right, y to anterior, z to superior."""
    return _ORDER[through_plane]


def canonical_spacing(affine: NDArray[np.float64], through_plane: Axis = "z") -> tuple[float, float, float]:
    """Spacing along depth, height and width in millimetres."""
    source = io_orientation(affine)
    sizes = voxel_sizes(affine)
    by_world = {int(world): float(size) for (world, _), size in zip(source, sizes, strict=True)}
    depth, height, width = (by_world[_RAS_INDEX[axis]] for axis in axes_of(through_plane))
    return depth, height, width


def choose_through_plane(spacings: Sequence[tuple[float, float, float]]) -> Axis:
    """The axis whose median spacing stands out, else z.

    Args:
        spacings: (z, y, x) in millimetres, one per volume.
    """
    median = np.median(np.asarray(spacings), axis=0)
    order = np.argsort(median)
    if median[order[2]] > ANISOTROPIC * median[order[1]]:
        names: tuple[Axis, ...] = ("z", "y", "x")
        return names[int(order[2])]
    return "z"


def lay_along(
    array: NDArray[Any], affine: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Lay a volume along the axes of another affine by flips and permutations; where each voxel lies stays the same.

    Args:
        array: (i, j, k, ...) on the axes of `affine`.
        wanted: the affine whose order and senses of axes are taken, to the nearest.
    """
    turn = ornt_transform(io_orientation(affine), io_orientation(wanted))
    return apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape[:3])


@dataclass(frozen=True)
class Turn:
    """The way from one file's axes to (depth, height, width).

    Attributes:
        source: nibabel's orientation of the file: for each axis the world axis it runs along, and in which sense.
        through_plane: the anatomical axis that becomes depth.
    """

    source: tuple[tuple[int, int], ...]
    through_plane: Axis

    @classmethod
    def of(cls, affine: NDArray[np.float64], through_plane: Axis) -> "Turn":
        """The turn for a file with this affine; for oblique ones the nearest axes."""
        return cls(tuple((int(axis), int(sense)) for axis, sense in io_orientation(affine)), through_plane)

    def forward(self, array: NDArray[Any]) -> NDArray[Any]:
        """(i, j, k, ...) on the file's axes to (depth, height, width, ...)."""
        upright = apply_orientation(array, np.array(self.source))
        return upright.transpose([*self._permutation(), *range(3, array.ndim)])

    def backward(self, array: NDArray[Any]) -> NDArray[Any]:
        """(depth, height, width, ...) to (i, j, k, ...) on the file's axes."""
        upright = array.transpose([*np.argsort(self._permutation()).tolist(), *range(3, array.ndim)])
        back = ornt_transform(axcodes2ornt("RAS"), np.array(self.source))
        return apply_orientation(upright, back)

    def _permutation(self) -> list[int]:
        return [_RAS_INDEX[axis] for axis in axes_of(self.through_plane)]
