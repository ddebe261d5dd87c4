"""Pyramid pooling: averages of a map over several extents, up to the whole map.

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
    """A map and its averages over 1, 2, 3 and 6 bins per axis, reduced to `width` channels.

    Norms are over channels: over positions they would remove the average of a whole map.

    Args:
        channels: channels of the map.
        width: channels of each average and of the output.
        depth_kernel: depth of the last convolution; 1 also averages each slice separately.
        bins: numbers of bins per axis, at most as many as it has positions.
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
        """Return the map with its context."""
        grid = tuple(volume.shape[2:])
        maps = [volume]
        for count, branch in zip(self.bins, self.branches, strict=True):
            depth = grid[0] if self.per_slice else min(count, grid[0])
            averages = F.adaptive_avg_pool3d(volume, (depth, min(count, grid[1]), min(count, grid[2])))
            maps.append(resize(branch(averages), grid))
        return self.merge(torch.cat(maps, dim=1))
