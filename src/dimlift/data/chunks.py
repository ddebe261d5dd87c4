"""A volume a few slices at a time, so that what is computed on the way never has the size of the volume."""

from collections.abc import Iterator, Sequence

SLAB = 1 << 22
"""Voxels of a slab, about; smaller volumes are done in one piece."""


def slabs(shape: Sequence[int], voxels: int = SLAB) -> Iterator[slice]:
    """Places along the first axis that cover it, each of at least one slice."""
    slice_size = 1
    for size in shape[1:]:
        slice_size *= size
    thickness = max(1, voxels // max(1, slice_size))
    for first in range(0, shape[0], thickness):
        yield slice(first, min(first + thickness, shape[0]))
