"""Sample images, labels and coarse features with one sampling grid, so that they are transformed alike.

A grid holds the (z, y, x) index in the volume of each voxel of a patch. Only the part of a volume that a grid covers is
copied.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int16
from torch import Tensor

from dimlift.data.preprocessing.blosc_array import BloscArray
from dimlift.data.preprocessing.interpolation import apply_separable, linear_matrix

Shape = tuple[int, int, int]
Grid = Float[Tensor, "D H W 3"]


def sample_image(
    volume: Float[Tensor, "channels d h w"] | BloscArray, grid: Grid, fill: Float[Tensor, " channels"]
) -> Float[Tensor, "channels D H W"]:
    """Sample an image trilinearly; voxels outside of the volume are `fill`."""
    crop, local = _crop(volume, grid)
    fill = rearrange(fill, "c -> c 1 1 1")
    return F.grid_sample((crop - fill)[None], local, align_corners=False)[0] + fill


def sample_label(label: Int16[Tensor, "1 d h w"] | BloscArray, grid: Grid) -> Float[Tensor, "D H W"]:
    """Sample the nearest voxel of a mask; voxels outside of the volume are background."""
    crop, local = _crop(label, grid)
    return F.grid_sample(crop[None].float(), local, mode="nearest", align_corners=False)[0, 0]


def sample_features(features: Float[Tensor, "k d h w"], shape: Shape, grid: Grid) -> Float[Tensor, "k D H W"]:
    """Sample coarse features trilinearly; voxels outside of the volume are zero.

    Features are sampled at every s-th voxel, where s is half the number of voxels per feature, and interpolated
    linearly in between.

    Args:
        features: feature maps that cover the whole volume.
        shape: shape of the volume.
        grid: the sampling grid.
    """
    size: Shape = tuple(grid.shape[:3])  # type: ignore[assignment]
    strides = [full / coarse for full, coarse in zip(shape, features.shape[1:], strict=True)]
    knots = [_knots(count, max(1, round(stride / 2))) for count, stride in zip(size, strides, strict=True)]
    sparse = grid[knots[0]][:, knots[1]][:, :, knots[2]]
    scale = torch.tensor(features.shape[1:]) / torch.tensor(shape)
    crop, local = _crop(features, (sparse + 0.5) * scale - 0.5)
    sampled = F.grid_sample(crop[None].float(), local, padding_mode="border", align_corners=False)[0]
    if sparse.shape != grid.shape:
        matrices = (_knot_interpolation(part, count) for part, count in zip(knots, size, strict=True))
        sampled = apply_separable(sampled, *matrices)
    return sampled * _inside(grid, shape)


def coarsen_grid(grid: Grid, stride: int) -> Grid:
    """Return the grid of blocks of stride x stride x stride voxels: the mean position of each block."""
    if stride == 1:
        return grid
    return F.avg_pool3d(rearrange(grid, "d h w zyx -> zyx d h w")[None], stride)[0].permute(1, 2, 3, 0)


def sample_feature_box(
    features: Sequence[Float[Tensor, "k d h w"]], shape: Shape, start: Shape, size: Shape, stride: int = 1
) -> Float[Tensor, "channels D H W"]:
    """Sample coarse features on the voxels of an axis-aligned box; voxels outside of the volume are zero.

    Args:
        features: feature maps of any resolution that cover the whole volume; their channels are concatenated.
        shape: shape of the volume.
        start: first voxel of the box, may be negative.
        size: size of the box in voxels of the volume.
        stride: features are sampled at the centres of blocks of this many voxels along each axis.
    """
    return torch.cat([_sample_box(one, shape, start, size, stride) for one in features])


def _sample_box(
    features: Float[Tensor, "k d h w"], shape: Shape, start: Shape, size: Shape, stride: int
) -> Float[Tensor, "k D H W"]:
    matrices, parts = [], []
    for full, coarse, first, count in zip(shape, features.shape[1:], start, size, strict=True):
        voxels = first + torch.arange(count // stride) * stride + (stride - 1) / 2
        positions = ((voxels + 0.5) * coarse / full - 0.5).clamp(0, coarse - 1)
        low, high = int(positions.min()), min(coarse, int(positions.max()) + 2)
        matrix = linear_matrix(positions - low, high - low)
        matrices.append(matrix * ((voxels >= -0.5) & (voxels <= full - 0.5))[:, None])
        parts.append(slice(low, high))
    return apply_separable(features[:, parts[0], parts[1], parts[2]].float(), *matrices)


def _crop(volume: Tensor | BloscArray, grid: Grid) -> tuple[Tensor, Float[Tensor, "1 D H W 3"]]:
    """Return the part of a volume that a grid covers, and the grid on it in the (x, y, z) units of grid_sample."""
    low, high = _bounds(grid)
    parts = []
    for axis, count in enumerate(volume.shape[1:]):
        first = min(max(int(low[axis].floor()) - 1, 0), count - 1)
        parts.append(slice(first, max(min(int(high[axis].ceil()) + 2, count), first + 1)))
    crop = volume[:, parts[0], parts[1], parts[2]]
    begin = torch.tensor([part.start for part in parts])
    local = (2 * (grid - begin) + 1) / torch.tensor(crop.shape[1:]) - 1
    return crop, local.flip(-1)[None]


def _bounds(grid: Grid) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Return the lowest and highest index along each axis; axis by axis is ten times as fast."""
    return grid.amin(0).amin(0).amin(0), grid.amax(0).amax(0).amax(0)


def _inside(grid: Grid, shape: Shape) -> Tensor:
    """Return whether each position is inside a volume of `shape`, (D, H, W), or a scalar True if all are."""
    low, high = _bounds(grid)
    end = torch.tensor(shape) - 0.5
    if (low >= -0.5).all() and (high <= end).all():
        return torch.tensor(True)
    within = ((grid >= -0.5) & (grid <= end)).unbind(-1)
    return within[0] & within[1] & within[2]


def _knots(count: int, step: int) -> Tensor:
    """Return every step-th index, and the last."""
    knots = torch.arange(0, count, step)
    return knots if knots[-1] == count - 1 else torch.cat([knots, torch.tensor([count - 1])])


def _knot_interpolation(knots: Tensor, count: int) -> Float[Tensor, "count knots"]:
    """Return the matrix of linear interpolation between unevenly spaced knots."""
    voxels = torch.arange(count)
    left = (torch.searchsorted(knots, voxels, right=True) - 1).clamp(0, max(0, len(knots) - 2))
    right = (left + 1).clamp(max=len(knots) - 1)
    gap = (knots[right] - knots[left]).clamp(min=1)
    return linear_matrix(left + (voxels - knots[left]) / gap, len(knots))
