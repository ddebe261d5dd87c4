"""Decoder of UNETR: a U-Net whose skips are the maps of the encoder and the volume.

- Hatamizadeh et al., UNETR, 2022, https://arxiv.org/abs/2103.10504
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGELU, UpsampleConv
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import Level, divided, stride_ratio
from dimlift.decoders.placement import Stride, resample_map
from dimlift.decoders.pyramid import FeaturePyramid


class UNETRDecoder(Decoder):
    """Maps of one or several strides, and the volume -> output at the resolution of the volume.

    From the coarsest level to the finest: a transposed convolution to the next grid, concatenation of the map of that
    grid, a residual block. Maps of a single stride first become a pyramid (strides 2, 4, 8, 16 for the four maps of a
    vision transformer at stride 16).

    Args:
        decoder_channels: channels at stride 4; a quarter of it at full resolution, half at stride 2, twice as many from
            stride 8 (16, 32, 64, 128 in the paper, for 64).
        image_channels: channels of the raw volume, the skip at full resolution; 0 disables it, and the output of the
            finest map is upsampled instead.
    """

    def _build(self, width: int) -> None:
        self.pyramid = FeaturePyramid(self.levels, width, per_slice=self.per_slice)
        skips: list[Level] = self.pyramid.levels
        if self.image_channels:
            skips = [(self.image_channels, (1, 1, 1)), *skips]
        self.strides = [stride for _, stride in skips]
        self.out_stride = self.strides[0]
        self.factors = [stride_ratio(fine, coarse) for fine, coarse in itertools.pairwise(self.strides)]
        widths = [_level_channels(width, stride) for _, stride in skips]
        self.skips = nn.ModuleList(
            ResidualConvBlock(count, out, self.depth_kernel)
            for (count, _), out in zip(skips[:-1], widths[:-1], strict=True)
        )
        self.coarsest = ConvNormGELU(skips[-1][0], widths[-1], 1, 1, per_slice=self.per_slice)
        self.upsample = nn.ModuleList(
            UpsampleConv(coarse, fine, self.factors[index], self.per_slice)
            for index, (fine, coarse) in enumerate(itertools.pairwise(widths))
        )
        self.merge = nn.ModuleList(ResidualConvBlock(2 * out, out, self.depth_kernel) for out in widths[:-1])
        self.head = nn.Conv3d(widths[0], self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        levels = self.pyramid(maps)
        if self.image_channels:
            levels = [image, *levels]
        x = self.coarsest(levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            x = self.checkpointed(self._level, index, levels[index], x)
        return self.head(x)

    def _level(self, index: int, skip: Tensor, coarser: Tensor) -> Tensor:
        stride = divided(self.strides[index + 1], self.factors[index])
        finer = tuple(skip.shape[2:])
        upsampled = resample_map(self.upsample[index](coarser), stride, finer, self.strides[index])
        return self.merge[index](torch.cat([upsampled, self.skips[index](skip)], dim=1))


class ResidualConvBlock(nn.Module):
    """Two convolutions with instance norm, and a shortcut.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        depth_kernel: depth of the kernels; 1 keeps slices separate.
    """

    def __init__(self, in_channels: int, out_channels: int, depth_kernel: int = 3) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            ConvNormGELU(in_channels, out_channels, depth_kernel),
            ConvNormGELU(out_channels, out_channels, depth_kernel),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1, bias=False)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels2 depth height width"]:
        """Return the sum of both branches."""
        return self.blocks(volume) + self.shortcut(volume)


def _level_channels(width: int, stride: Stride) -> int:
    step = max(stride)
    return 2 * width if step >= 8 else width if step >= 4 else max(8, width // 2 if step >= 2 else width // 4)
