"""Pyramid pooling: what surrounds a position, at several extents up to the whole map.

- Zhao et al., PSPNet, 2017, https://arxiv.org/abs/1612.01105
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import resize
from dimlift.decoders.norm import ChannelNorm

BINS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """The map beside averages of it over 1, 2, 3 and 6 parts of each axis, brought to `width` channels.

    Norms here are over channels: over positions they would erase the average of a whole map.

    Args:
        channels: channels of the map.
        width: channels of each average and of the answer.
        depth_kernel: depth of the closing convolution; 1 also averages within each slice alone.
        bins: parts an axis is cut into; never more than it has positions.
    """

    def __init__(self, channels: int, width: int, depth_kernel: int = 3, bins: tuple[int, ...] = BINS) -> None:
        super().__init__()
        self.bins, self.per_slice = bins, depth_kernel == 1
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv3d(channels, width, 1, bias=False), ChannelNorm(width), nn.GELU()) for _ in bins
        )
        self.merge = nn.Sequential(
            nn.Conv3d(
                channels + len(bins) * width, width, (depth_kernel, 3, 3), padding=(depth_kernel // 2, 1, 1), bias=False
            ),
            ChannelNorm(width),
            nn.GELU(),
        )

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch wide depth height width"]:
        """The map with its surroundings."""
        grid = tuple(volume.shape[2:])
        found = [volume]
        for parts, branch in zip(self.bins, self.branches, strict=True):
            depth = grid[0] if self.per_slice else min(parts, grid[0])
            pooled = F.adaptive_avg_pool3d(volume, (depth, min(parts, grid[1]), min(parts, grid[2])))
            found.append(resize(branch(pooled), grid))
        return self.merge(torch.cat(found, dim=1))
