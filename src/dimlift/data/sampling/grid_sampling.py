"""Read images, labels and coarse features through one sampling grid, so that they move together.

A grid holds, for each voxel of a patch, the (z, y, x) index of the volume it shows. Only the part of a volume that a
grid touches is copied.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int16
from torch import Tensor

from dimlift.data.preprocessing.blosc_array import PackedArray
from dimlift.data.preprocessing.interpolation import linear_matrix, separable

Shape = tuple[int, int, int]
Grid = Float[Tensor, "D H W 3"]


def read_image(
    volume: Float[Tensor, "channels d h w"] | PackedArray, grid: Grid, fill: Float[Tensor, " channels"]
) -> Float[Tensor, "channels D H W"]:
    """Trilinear; outside of the volume there is `fill`."""
    crop, local = _crop(volume, grid)
    shade = rearrange(fill, "c -> c 1 1 1")
    return F.grid_sample((crop - shade)[None], local, align_corners=False)[0] + shade


def read_label(label: Int16[Tensor, "1 d h w"] | PackedArray, grid: Grid) -> Float[Tensor, "D H W"]:
    """The nearest voxel; outside of the volume there is background."""
    crop, local = _crop(label, grid)
    return F.grid_sample(crop[None].float(), local, mode="nearest", align_corners=False)[0, 0]


def read_features(features: Float[Tensor, "k d h w"], shape: Shape, grid: Grid) -> Float[Tensor, "k D H W"]:
    """Trilinear, straight from a coarse grid that covers the whole volume; outside of the volume there is zero.

    Coarse features are read at every s-th voxel, s half the voxels a feature spans, and linearly in between.

    Args:
        shape: of the volume the features cover.
    """
    size: Shape = tuple(grid.shape[:3])  # type: ignore[assignment]
    strides = [full / coarse for full, coarse in zip(shape, features.shape[1:], strict=True)]
    knots = [_knots(count, max(1, round(stride / 2))) for count, stride in zip(size, strides, strict=True)]
    sparse = grid[knots[0]][:, knots[1]][:, :, knots[2]]
    scale = torch.tensor(features.shape[1:]) / torch.tensor(shape)
    crop, local = _crop(features, (sparse + 0.5) * scale - 0.5)
    read = F.grid_sample(crop[None].float(), local, padding_mode="border", align_corners=False)[0]
    if sparse.shape != grid.shape:
        read = separable(read, *(_between(part, count) for part, count in zip(knots, size, strict=True)))
    return read * _inside(grid, shape)


def every(grid: Grid, stride: int) -> Grid:
    """The grid of blocks of stride x stride x stride voxels: the middle of what each block shows."""
    if stride == 1:
        return grid
    return F.avg_pool3d(rearrange(grid, "d h w zyx -> zyx d h w")[None], stride)[0].permute(1, 2, 3, 0)


def features_of_box(
    features: Sequence[Float[Tensor, "k d h w"]], shape: Shape, start: Shape, size: Shape, stride: int = 1
) -> Float[Tensor, "channels D H W"]:
    """Coarse features on the voxels of an upright box; outside of the volume there is zero.

    Args:
        features: each covers the whole volume on a grid of its own; their channels are put one behind the other.
        shape: of the volume.
        start: first voxel of the box, may be negative.
        size: of the box, in voxels of the volume.
        stride: features are read in the middle of blocks of this many voxels along each axis.
    """
    return torch.cat([_box(one, shape, start, size, stride) for one in features])


def _box(
    features: Float[Tensor, "k d h w"], shape: Shape, start: Shape, size: Shape, stride: int
) -> Float[Tensor, "k D H W"]:
    matrices, parts = [], []
    for full, coarse, first, count in zip(shape, features.shape[1:], start, size, strict=True):
        voxels = first + torch.arange(count // stride) * stride + (stride - 1) / 2
        at = ((voxels + 0.5) * coarse / full - 0.5).clamp(0, coarse - 1)
        low, high = int(at.min()), min(coarse, int(at.max()) + 2)
        matrix = linear_matrix(at - low, high - low)
        matrices.append(matrix * ((voxels >= -0.5) & (voxels <= full - 0.5))[:, None])
        parts.append(slice(low, high))
    return separable(features[:, parts[0], parts[1], parts[2]].float(), *matrices)


def _crop(volume: Tensor | PackedArray, grid: Grid) -> tuple[Tensor, Float[Tensor, "1 D H W 3"]]:
    """The part of a volume a grid touches, and the grid on it in grid_sample's own (x, y, z) units."""
    low, high = _span(grid)
    parts = []
    for axis, count in enumerate(volume.shape[1:]):
        first = min(max(int(low[axis].floor()) - 1, 0), count - 1)
        parts.append(slice(first, max(min(int(high[axis].ceil()) + 2, count), first + 1)))
    crop = volume[:, parts[0], parts[1], parts[2]]
    begin = torch.tensor([part.start for part in parts])
    local = (2 * (grid - begin) + 1) / torch.tensor(crop.shape[1:]) - 1
    return crop, local.flip(-1)[None]


def _span(grid: Grid) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Lowest and highest index along each axis. One axis after the other: a tenth of the time of all at once."""
    return grid.amin(0).amin(0).amin(0), grid.amax(0).amax(0).amax(0)


def _inside(grid: Grid, shape: Shape) -> Tensor:
    """Whether each place lies in a volume of `shape`, (D, H, W); a single True where all do."""
    low, high = _span(grid)
    end = torch.tensor(shape) - 0.5
    if (low >= -0.5).all() and (high <= end).all():
        return torch.tensor(True)
    within = ((grid >= -0.5) & (grid <= end)).unbind(-1)
    return within[0] & within[1] & within[2]


def _knots(count: int, step: int) -> Tensor:
    """Every step-th index, and the last."""
    knots = torch.arange(0, count, step)
    return knots if knots[-1] == count - 1 else torch.cat([knots, torch.tensor([count - 1])])


def _between(knots: Tensor, count: int) -> Float[Tensor, "count knots"]:
    """Linear interpolation between uneven knots."""
    voxels = torch.arange(count)
    left = (torch.searchsorted(knots, voxels, right=True) - 1).clamp(0, max(0, len(knots) - 2))
    right = (left + 1).clamp(max=len(knots) - 1)
    gap = (knots[right] - knots[left]).clamp(min=1)
    return linear_matrix(left + (voxels - knots[left]) / gap, len(knots))
