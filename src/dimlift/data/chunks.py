"""Process a volume in chunks of slices, so that temporary arrays never have the size of the volume."""

from collections.abc import Iterator, Sequence

CHUNK_VOXELS = 1 << 22
"""Approximate number of voxels per chunk."""


def depth_chunks(shape: Sequence[int], voxels: int = CHUNK_VOXELS) -> Iterator[slice]:
    """Yield slices along the first axis that cover it, each at least one element long.

    Args:
        shape: shape of the array.
        voxels: approximate number of elements per chunk.
    """
    slice_size = 1
    for size in shape[1:]:
        slice_size *= size
    thickness = max(1, voxels // max(1, slice_size))
    for first in range(0, shape[0], thickness):
        yield slice(first, min(first + thickness, shape[0]))
