"""Swin-Unet's decoder: patches are split, the encoder's map put beside them, windows attend.

- Cao et al., Swin-Unet, 2021, https://arxiv.org/abs/2105.05537; the blocks are MONAI's.
"""

import itertools
import math

import torch
from einops import rearrange
from jaxtyping import Float
from monai.networks.nets.swin_unetr import BasicLayer
from torch import Tensor, nn

from dimlift.decoders.blocks import Grid, resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import ratio
from dimlift.decoders.norm import ChannelNorm

WINDOW = 7
HEAD = 32
"""Channels of an attention head, at least where the width is a multiple of it."""


class SwinDecoder(Decoder):
    """Maps of several strides -> one map at the resolution of the volume.

    From coarse to fine: a linear layer splits each position into those of the next finer grid, the encoder's map is
    put beside, a linear layer halves the channels, two Swin blocks follow. The finest grid is split once more, into the
    voxels.

    Args, beside those of every `Decoder`:
        width: channels of the finest level, doubled from each level to the next (the paper has 96).
        depth_kernel: 1 keeps windows of attention within a slice; otherwise they are so many slices deep.
    """

    default_width = 96

    def _build(self, width: int) -> None:
        levels = self.levels
        widths = [width * 2**index for index in range(len(levels))]
        self.first = nn.Conv3d(levels[-1][0], widths[-1], 1)
        self.expand = nn.ModuleList(
            PatchExpand(coarse, fine, ratio(levels[index][1], levels[index + 1][1]))
            for index, (fine, coarse) in enumerate(itertools.pairwise(widths))
        )
        self.merge = nn.ModuleList(
            nn.Conv3d(wide + count, wide, 1) for wide, (count, _) in zip(widths[:-1], levels[:-1], strict=True)
        )
        self.blocks = nn.ModuleList(
            BasicLayer(wide, 2, _heads(wide), (self.depth_kernel, WINDOW, WINDOW), [0.0, 0.0], qkv_bias=True)
            for wide in widths[:-1]
        )
        self.last = PatchExpand(width, width, levels[0][1])
        self.head = nn.Conv3d(width, self.out_channels, 1, bias=False)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        state = self.first(maps[-1])
        for index in range(len(maps) - 2, -1, -1):
            own = maps[index]
            state = resize(self.expand[index](state), tuple(own.shape[2:]))
            state = self.blocks[index](self.merge[index](torch.cat([state, own], dim=1)))
        return self.head(self.last(state))


class PatchExpand(nn.Module):
    """Each position becomes those of a finer grid by one linear layer; layer norm over channels.

    Args:
        in_channels: channels it reads.
        out_channels: channels it writes.
        factor: (z, y, x) positions it makes of one.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: Grid) -> None:
        super().__init__()
        self.factor = factor
        self.split = nn.Conv3d(in_channels, out_channels * math.prod(factor), 1, bias=False)
        self.norm = ChannelNorm(out_channels)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels2 depth2 height2 width2"]:
        """The finer map."""
        z, y, x = self.factor
        finer = rearrange(self.split(volume), "b (c z y x) d h w -> b c (d z) (h y) (w x)", z=z, y=y, x=x)
        return self.norm(finer)


def _heads(width: int) -> int:
    return width // HEAD if width % HEAD == 0 else 1
