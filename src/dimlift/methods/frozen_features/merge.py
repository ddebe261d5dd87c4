"""Merge the feature maps of a case into one map if that is smaller, so that sampling needs one lookup, not several."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def merge_maps(
    coarse: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int], stride: int
) -> list[Float[Tensor, "_ _ _ _"]]:
    """Resample maps to the grid at which they are sampled, if that holds fewer values; otherwise return them unchanged.

    In small volumes, whose slices are upsampled, fine maps are finer than this grid. In large volumes maps stay on the
    grid of the network, which is much coarser than the voxels.

    Args:
        coarse: maps (K_i, d, h, w), each of the whole volume.
        size: (depth, height, width) voxels of the volume.
        stride: voxels per position at which a patch samples features.
    """
    grid = (-(-size[0] // stride), -(-size[1] // stride), -(-size[2] // stride))
    if sum(map(len, coarse)) * math.prod(grid) >= sum(each.numel() for each in coarse):
        return list(coarse)
    return [torch.cat([_resample(each, grid) for each in coarse])]


def _resample(each: Float[Tensor, "_ _ _ _"], grid: tuple[int, int, int]) -> Float[Tensor, "_ _ _ _"]:
    """Interpolate linearly along axes where the grid is finer than the map, average where it is coarser."""
    finer = [max(have, want) for have, want in zip(each.shape[1:], grid, strict=True)]
    upsampled = F.interpolate(each[None], finer, mode="trilinear", align_corners=False)
    return F.adaptive_avg_pool3d(upsampled, grid)[0]
