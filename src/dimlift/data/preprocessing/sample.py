"""A case as arrays, and the way back to its file's grid."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.orientation import Axis, Turn, axes_of
from dimlift.data.preprocessing.foreground import voxels_by_class
from dimlift.data.preprocessing.resampling import Shape

IGNORED = -1
"""Label of voxels without annotation; the same number as `dimlift.batch.IGNORE`, which needs torch to import."""


@dataclass(frozen=True)
class Geometry:
    """Where a sample came from: all that is needed to put an answer back onto its file's grid.

    Attributes:
        turn: from the file's axes to (depth, height, width).
        turned_shape: (D, H, W) before resampling.
        shape: (D, H, W) of the sample.
        spacing: of the sample along depth, height and width, in millimetres.
        affine: of the file, (4, 4).
        header: of the file, so that outputs keep its codes and units.
        path: the file (of the first channel).
    """

    turn: Turn
    turned_shape: Shape
    shape: Shape
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64] = field(repr=False, compare=False)
    header: Any = field(default=None, repr=False, compare=False)
    path: Path = Path()

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The anatomical axes that depth, height and width run along."""
        return axes_of(self.turn.through_plane)


@dataclass(frozen=True, eq=False)
class Sample:
    """A preprocessed case.

    Attributes:
        image: float32, (channels, D, H, W), normalised.
        label: class index per voxel, int16 (D, H, W), `IGNORED` where nobody annotated; or one class or number for
            the volume; or None.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.int16] | int | float | None
    geometry: Geometry

    @property
    def has_mask(self) -> bool:
        """Whether every voxel has a label of its own."""
        return isinstance(self.label, np.ndarray)

    @cached_property
    def minimum(self) -> NDArray[np.float32]:
        """The lowest value of each channel."""
        return self.image.min(axis=(1, 2, 3))

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Whether each channel is there at all; a missing one is 0 throughout."""
        return (self.image != 0).any(axis=(1, 2, 3))

    @cached_property
    def values(self) -> tuple[int | float, ...]:
        """Every label that occurs."""
        if isinstance(self.label, np.ndarray):
            return tuple(np.unique(self.label).tolist())
        return () if self.label is None else (self.label,)

    @cached_property
    def foreground(self) -> dict[int, NDArray[np.int32]]:
        """Voxels of each class, see `voxels_by_class`."""
        return voxels_by_class(self.label) if isinstance(self.label, np.ndarray) else {}
