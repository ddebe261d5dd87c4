"""What decoders know of the maps they are built for: channels, strides, and how wide a level may be."""

import itertools
from collections.abc import Sequence

from dimlift.decoders.blocks import Grid
from dimlift.errors import ShapeError

Level = tuple[int, Grid]
"""Channels and (z, y, x) stride of a map."""


def checked_levels(channels: Sequence[int], strides: Sequence[Grid]) -> list[Level]:
    """The levels a decoder is built for, finest first.

    Raises:
        ShapeError: if channels and strides do not fit together, or the strides fall.
    """
    if not channels or len(channels) != len(strides):
        raise ShapeError(f"a decoder needs one stride for each map, got channels={channels} and strides={strides}")
    for fine, coarse in itertools.pairwise(strides):
        if any(f > c for f, c in zip(fine, coarse, strict=True)):
            raise ShapeError(f"maps must come finest first, but stride {tuple(coarse)} follows {tuple(fine)}")
    return [(count, tuple(stride)) for count, stride in zip(channels, strides, strict=True)]


def level_width(width: int, stride: Grid) -> int:
    """A quarter of the width at full resolution, half of it at stride 2, all of it from stride 4."""
    step = max(stride)
    return max(8, width // 4) if step < 2 else max(8, width // 2) if step < 4 else width


def ratio(fine: Grid, coarse: Grid) -> Grid:
    """Positions of the finer grid that one of the coarser becomes, axis by axis."""
    return tuple(max(1, round(c / f)) for f, c in zip(fine, coarse, strict=True))
