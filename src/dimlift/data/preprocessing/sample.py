"""A preprocessed volume, and what is needed to map predictions back to the grid of its file."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.orientation import Axis, Reorientation, axis_order
from dimlift.data.preprocessing.foreground import voxels_by_class
from dimlift.data.preprocessing.resampling import Shape
from dimlift.data.preprocessing.training_range import InputFacts

IGNORED = -1
"""Label of voxels without annotation; equal to `dimlift.batch.IGNORE`, whose module imports torch."""


@dataclass(frozen=True)
class Geometry:
    """The transform between a file and its sample.

    Attributes:
        reorientation: from the axes of the file to (depth, height, width).
        reoriented_shape: (D, H, W) before resampling.
        shape: (D, H, W) of the sample.
        spacing: spacing of the sample along depth, height and width in millimetres.
        affine: affine of the file, (4, 4).
        header: header of the file, whose codes and units outputs keep.
        path: the file (of the first channel).
    """

    reorientation: Reorientation
    reoriented_shape: Shape
    shape: Shape
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64] = field(repr=False, compare=False)
    header: Any = field(default=None, repr=False, compare=False)
    path: Path = Path()

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The anatomical axes of depth, height and width."""
        return axis_order(self.reorientation.slice_axis)


@dataclass(frozen=True, eq=False)
class Sample:
    """A preprocessed case.

    Attributes:
        name: name of the case.
        image: float32, (channels, D, H, W), normalised.
        label: class index per voxel, int16 (D, H, W), `IGNORED` where not annotated; or one class or number for the
            volume; or None.
        geometry: transform to the file.
        facts: what the files held before normalisation; None if nobody measured it.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.int16] | int | float | None
    geometry: Geometry
    facts: InputFacts | None = None

    @property
    def has_mask(self) -> bool:
        """Whether the label is a mask."""
        return isinstance(self.label, np.ndarray)

    @cached_property
    def minimum(self) -> NDArray[np.float32]:
        """Minimum of each channel."""
        return self.image.min(axis=(1, 2, 3))

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Whether each channel is present; a missing one is 0 everywhere."""
        return (self.image != 0).any(axis=(1, 2, 3))

    @cached_property
    def values(self) -> tuple[int | float, ...]:
        """Every label that occurs."""
        if isinstance(self.label, np.ndarray):
            return tuple(np.unique(self.label).tolist())
        return () if self.label is None else (self.label,)

    @cached_property
    def foreground(self) -> dict[int, NDArray[np.int32]]:
        """Sampled voxels of each class (`voxels_by_class`)."""
        return voxels_by_class(self.label) if isinstance(self.label, np.ndarray) else {}
