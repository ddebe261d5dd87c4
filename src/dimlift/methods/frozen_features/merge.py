"""All maps of a case as one, where that is smaller: reading it then costs one look-up instead of one for each map."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def merged(
    coarse: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int], stride: int
) -> list[Float[Tensor, "_ _ _ _"]]:
    """Maps brought to the grid they will be read at, if that holds fewer numbers than they do now.

    In small volumes, whose slices are enlarged, the fine maps are finer than what a patch reads of them. In large ones
    the maps stay on the network's own grid, which is far coarser than the voxels.

    Args:
        coarse: maps (K_i, d, h, w), each over the whole volume.
        size: (depth, height, width) voxels of the volume.
        stride: voxels to each place a patch reads features at.
    """
    grid = (-(-size[0] // stride), -(-size[1] // stride), -(-size[2] // stride))
    if sum(map(len, coarse)) * math.prod(grid) >= sum(each.numel() for each in coarse):
        return list(coarse)
    return [torch.cat([_resampled(each, grid) for each in coarse])]


def _resampled(each: Float[Tensor, "_ _ _ _"], grid: tuple[int, int, int]) -> Float[Tensor, "_ _ _ _"]:
    """Linear where the grid is finer than the map, the average of what falls into a place where it is coarser."""
    finer = [max(have, want) for have, want in zip(each.shape[1:], grid, strict=True)]
    spread = F.interpolate(each[None], finer, mode="trilinear", align_corners=False)
    return F.adaptive_avg_pool3d(spread, grid)[0]
