"""TransUNet's cascaded upsampler: double the grid, put the encoder's map beside it, convolve twice.

- Chen et al., TransUNet, 2021, https://arxiv.org/abs/2102.04306
"""

import torch
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.decoder import Decoder, Maps


class CascadedUpsampler(Decoder):
    """Maps of several strides, or of one -> one map at the resolution of the volume.

    From the coarsest map on, each step goes to the grid of the next finer one and puts it beside; behind the finest,
    steps double the grid until it is the volume's.

    Args, beside those of every `Decoder`:
        width: channels from stride 8 on; a half of it at stride 4, a quarter at 2, a sixteenth at full resolution, and
            twice as many before the first step (the paper's 512, 256, 128, 64, 16 for 256).
    """

    def _build(self, width: int) -> None:
        levels, deep = self.levels, self.depth_kernel
        beside = list(levels[-2::-1])
        stride = levels[0][1]
        while max(stride) > 1:
            stride = tuple(-(-step // 2) for step in stride)
            beside.append((0, stride))
        self.strides = [step for _, step in beside]
        state = 2 * width
        self.first = ConvNormGelu(levels[-1][0], state, deep)
        self.steps = nn.ModuleList()
        for count, step in beside:
            wide = _width_at(width, step)
            self.steps.append(nn.Sequential(ConvNormGelu(state + count, wide, deep), ConvNormGelu(wide, wide, deep)))
            state = wide
        self.head = nn.Conv3d(state, self.out_channels, (deep, 3, 3), padding=(deep // 2, 1, 1))

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        size = tuple(image.shape[2:])
        state = self.first(maps[-1])
        skips = [*maps[-2::-1], *[None] * len(self.steps)]
        for step, stride, skip in zip(self.steps, self.strides, skips, strict=False):
            if skip is None:
                state = resize(state, tuple(-(-n // by) for n, by in zip(size, stride, strict=True)))
            else:
                state = torch.cat([resize(state, tuple(skip.shape[2:])), skip], dim=1)
            state = step(state)
        return self.head(state)


def _width_at(width: int, stride: Grid) -> int:
    step = max(stride)
    return max(4, width if step >= 8 else width // 2 if step >= 4 else width // 4 if step >= 2 else width // 16)
