"""Cascaded upsampler of TransUNet: upsample by two, concatenate the encoder's map, convolve twice.

- Chen et al., TransUNet, 2021, https://arxiv.org/abs/2102.04306
"""

import math

import torch
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGELU
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import cells_of
from dimlift.decoders.placement import Stride, resample_map


class CascadedUpsampler(Decoder):
    """Maps of one or several strides -> output at the resolution of the volume.

    Each step goes from the coarsest map to the grid of the next finer one and concatenates it; behind the finest map,
    steps double the resolution until it is that of the volume.

    Args:
        decoder_channels: channels from stride 8 on; half of it at stride 4, a quarter at stride 2, a sixteenth at full
            resolution, and twice as many before the first step (512, 256, 128, 64, 16 in the paper, for 256).
    """

    def _build(self, width: int) -> None:
        levels, depth_kernel = self.levels, self.depth_kernel
        steps = list(levels[-2::-1])
        stride = levels[0][1]
        while max(stride) > 1:
            stride = tuple(math.ceil(step / 2) for step in stride)
            steps.append((0, stride))
        self.strides = [step for _, step in steps]
        self.out_stride = self.strides[-1] if steps else levels[0][1]
        channels = 2 * width
        self.first = ConvNormGELU(levels[-1][0], channels, depth_kernel)
        self.steps = nn.ModuleList()
        for skip_channels, step in steps:
            out = _step_channels(width, step)
            self.steps.append(
                nn.Sequential(
                    ConvNormGELU(channels + skip_channels, out, depth_kernel), ConvNormGELU(out, out, depth_kernel)
                )
            )
            channels = out
        self.head = nn.Conv3d(channels, self.out_channels, (depth_kernel, 3, 3), padding=(depth_kernel // 2, 1, 1))

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        size = tuple(image.shape[2:])
        x = self.first(maps[-1])
        skips = [*maps[-2::-1], *[None] * len(self.steps)]
        before = self.levels[-1][1]
        for step, stride, skip in zip(self.steps, self.strides, skips, strict=False):
            grid = cells_of(size, stride) if skip is None else tuple(skip.shape[2:])
            x = resample_map(x, before, grid, stride)
            x = step(x if skip is None else torch.cat([x, skip], dim=1))
            before = stride
        return self.head(x)


def _step_channels(width: int, stride: Stride) -> int:
    step = max(stride)
    return max(4, width if step >= 8 else width // 2 if step >= 4 else width // 4 if step >= 2 else width // 16)
