"""Channels and strides of the maps a decoder is built for."""

import itertools
import math
from collections.abc import Sequence

from dimlift.decoders.blocks import Grid
from dimlift.decoders.placement import Stride
from dimlift.errors import ShapeError

Level = tuple[int, Stride]
"""Channels and (z, y, x) stride of a map."""


def validate_levels(channels: Sequence[int], strides: Sequence[Stride]) -> list[Level]:
    """Return the levels of a decoder, finest first.

    Raises:
        ShapeError: if channels and strides have different lengths, or the strides decrease.
    """
    if not channels or len(channels) != len(strides):
        raise ShapeError(f"a decoder needs one stride per map, got channels={channels} and strides={strides}")
    for fine, coarse in itertools.pairwise(strides):
        if any(f > c for f, c in zip(fine, coarse, strict=True)):
            raise ShapeError(f"maps must be ordered finest first, but stride {tuple(coarse)} follows {tuple(fine)}")
    return [(count, tuple(stride)) for count, stride in zip(channels, strides, strict=True)]


def level_width(width: int, stride: Stride) -> int:
    """Return the channels of a level: a quarter of `width` at full resolution, half at stride 2, all from stride 4."""
    step = max(stride)
    return max(8, width // 4) if step < 2 else max(8, width // 2) if step < 4 else width


def stride_ratio(fine: Stride, coarse: Stride) -> Grid:
    """Return the upsampling factor from a coarse to a fine grid along each axis."""
    return tuple(max(1, round(c / f)) for f, c in zip(fine, coarse, strict=True))


def divided(stride: Stride, factor: Grid) -> Stride:
    """Return the stride of a map that is upsampled by a factor along each axis; whole numbers are int."""
    return tuple(step // by if step % by == 0 else step / by for step, by in zip(stride, factor, strict=True))


def cells_of(size: Grid, stride: Stride) -> Grid:
    """Return the number of cells that cover a volume along each axis."""
    return tuple(math.ceil(side / step) for side, step in zip(size, stride, strict=True))
