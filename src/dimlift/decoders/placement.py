"""Resampling between grids that share the first voxel of the volume, at the true strides of both.

Cell i of a map of stride s covers the voxels from s * i to s * (i + 1). The last cell may extend beyond the volume, so
that two grids need not cover the same extent: stretching one to the other would displace features, by up to a cell at
the far end.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.decoders.blocks import Grid, resize

Stride = tuple[float, ...]
"""(z, y, x) in voxels"""


def resample_map(
    volume: Float[Tensor, "batch channels _ _ _"],
    stride: Sequence[float],
    grid: Grid,
    target: Sequence[float],
    start: Sequence[float] = (0, 0, 0),
) -> Float[Tensor, "batch channels _ _ _"]:
    """Resample a map linearly to another grid; beyond its last cells their values continue.

    Args:
        volume: the map.
        stride: (z, y, x) of the map, in voxels.
        grid: (z, y, x) cells of the result.
        target: stride of the result.
        start: voxel at which the first cell of the map starts; the result starts at 0.
    """
    size = tuple(volume.shape[2:])
    axes = list(zip(size, stride, grid, target, start, strict=True))
    if all(first == 0 and step == by for _, step, _, by, first in axes):
        return _fit(volume, grid)
    if all(first == 0 and cells * step == count * by for cells, step, count, by, first in axes):
        return resize(volume, grid)
    if all(first == 0 and step % by == 0 for _, step, _, by, first in axes):
        return _fit(resize(volume, tuple(int(cells * step // by) for cells, step, _, by, _ in axes)), grid)
    for axis, (cells, step, count, by, first) in enumerate(axes, start=2):
        if first or (cells, step) != (count, by):
            volume = _interpolate(volume, axis, ((torch.arange(count) + 0.5) * by - first) / step - 0.5)
    return volume


def _fit(volume: Tensor, grid: Grid) -> Tensor:
    """Crop a map to a grid of the same stride, or repeat its last cells."""
    z, y, x = (max(0, wanted - have) for wanted, have in zip(grid, volume.shape[2:], strict=True))
    if z or y or x:
        volume = F.pad(volume, (0, x, 0, y, 0, z), mode="replicate")
    return volume[:, :, : grid[0], : grid[1], : grid[2]]


def _interpolate(volume: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Interpolate along one axis at positions in cells."""
    last = volume.shape[axis] - 1
    positions = positions.clamp(0, last).to(volume.device)
    lower = positions.floor().long()
    weight = (positions - lower).to(volume.dtype).view(-1, *[1] * (volume.ndim - 1 - axis))
    below, above = volume.index_select(axis, lower), volume.index_select(axis, (lower + 1).clamp_max(last))
    return torch.lerp(below, above, weight)
