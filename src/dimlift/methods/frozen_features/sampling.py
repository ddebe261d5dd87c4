"""Sampling of coarse feature maps at positions of the volume they cover."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sample_feature_maps(
    coarse: Sequence[Float[Tensor, "_ _ _ _"]], grid: Float[Tensor, "depth height width 3"]
) -> Float[Tensor, "components depth height width"]:
    """Sample every map at the positions of a grid and concatenate the channels.

    Args:
        coarse: maps (K_i, d, h, w), each of the whole volume.
        grid: (x, y, z) in normalised coordinates of the volume: -1 and 1 are its outer faces, voxel centres are half a
            voxel inside (`align_corners=False`). Outside the volume features are 0, their mean.
    """
    inside = (grid.abs() <= 1).all(dim=-1)
    sampled = [
        F.grid_sample(each[None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        for each in coarse
    ]
    return torch.cat(sampled) * inside


def window_grid(
    volume: Sequence[int], start: Sequence[int], size: Sequence[int], device: torch.device | str = "cpu"
) -> Float[Tensor, "depth height width 3"]:
    """Return the positions of the voxels of a window, for `sample_feature_maps`.

    Args:
        volume: (depth, height, width) voxels of the whole volume.
        start: first voxel of the window along each axis; may be negative.
        size: voxels of the window along each axis; may extend beyond the volume.
        device: device of the grid.
    """
    axes = [
        2 * (torch.arange(first, first + count, device=device) + 0.5) / length - 1
        for length, first, count in zip(volume, start, size, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def window_features(
    coarse: Sequence[Float[Tensor, "_ _ _ _"]], volume: Sequence[int], start: Sequence[int], size: Sequence[int]
) -> Float[Tensor, "components depth height width"]:
    """Return the features at the voxels of a window of the volume."""
    return sample_feature_maps(coarse, window_grid(volume, start, size, coarse[0].device))
