"""Decoder of Swin-Unet: expand patches, concatenate the encoder's map, window attention.

- Cao et al., Swin-Unet, 2021, https://arxiv.org/abs/2105.05537; the blocks are those of MONAI.
"""

import itertools
import math

import torch
from einops import rearrange
from jaxtyping import Float
from monai.networks.nets.swin_unetr import BasicLayer
from torch import Tensor, nn

from dimlift.decoders.blocks import Grid
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import divided, stride_ratio
from dimlift.decoders.norm import ChannelNorm
from dimlift.decoders.placement import resample_map

WINDOW = 7
HEAD_CHANNELS = 32
"""Channels of an attention head, if the width is a multiple of it."""


class SwinDecoder(Decoder):
    """Maps of several strides -> output at the resolution of the volume.

    From coarse to fine: a linear layer expands each position to those of the next finer grid, the map of the encoder is
    concatenated, a linear layer halves the channels, two Swin blocks follow. The finest grid is expanded to the voxels.

    Args:
        decoder_channels: channels of the finest level, doubled from each level to the next; 96 in the paper.
        depth_kernel: depth of the attention windows; 1 keeps slices separate.
    """

    default_channels = 96

    def _build(self, width: int) -> None:
        levels = self.levels
        widths = [width * 2**index for index in range(len(levels))]
        self.first = nn.Conv3d(levels[-1][0], widths[-1], 1)
        self.strides = [stride for _, stride in levels]
        self.factors = [stride_ratio(fine, coarse) for fine, coarse in itertools.pairwise(self.strides)]
        self.expand = nn.ModuleList(
            PatchExpand(coarse, fine, self.factors[index])
            for index, (fine, coarse) in enumerate(itertools.pairwise(widths))
        )
        self.merge = nn.ModuleList(
            nn.Conv3d(out + count, out, 1) for out, (count, _) in zip(widths[:-1], levels[:-1], strict=True)
        )
        self.blocks = nn.ModuleList(
            BasicLayer(out, 2, _num_heads(out), (self.depth_kernel, WINDOW, WINDOW), [0.0, 0.0], qkv_bias=True)
            for out in widths[:-1]
        )
        last = stride_ratio((1, 1, 1), self.strides[0])
        self.out_stride = divided(self.strides[0], last)
        self.last = PatchExpand(width, width, last)
        self.head = nn.Conv3d(width, self.out_channels, 1, bias=False)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        x = self.first(maps[-1])
        for index in range(len(maps) - 2, -1, -1):
            skip = maps[index]
            stride = divided(self.strides[index + 1], self.factors[index])
            x = resample_map(self.expand[index](x), stride, tuple(skip.shape[2:]), self.strides[index])
            x = self.blocks[index](self.merge[index](torch.cat([x, skip], dim=1)))
        return self.head(self.last(x))


class PatchExpand(nn.Module):
    """Expand each position to those of a finer grid by a linear layer, followed by layer norm over channels.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        factor: (z, y, x) upsampling factor.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: Grid) -> None:
        super().__init__()
        self.factor = factor
        self.split = nn.Conv3d(in_channels, out_channels * math.prod(factor), 1, bias=False)
        self.norm = ChannelNorm(out_channels)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels2 depth2 height2 width2"]:
        """Return the upsampled map."""
        z, y, x = self.factor
        finer = rearrange(self.split(volume), "b (c z y x) d h w -> b c (d z) (h y) (w x)", z=z, y=y, x=x)
        return self.norm(finer)


def _num_heads(width: int) -> int:
    return width // HEAD_CHANNELS if width % HEAD_CHANNELS == 0 else 1
