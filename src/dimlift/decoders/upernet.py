"""UPerNet: pyramid pooling on the coarsest map, a feature pyramid above it, all levels read at once.

- Xiao et al., 2018, https://arxiv.org/abs/1807.10221
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGelu, resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.pooling import PyramidPooling
from dimlift.decoders.pyramid import Pyramid


class UPerNetDecoder(Decoder):
    """Maps of several strides, or of one -> one map at the resolution of the volume.

    Each level but the coarsest is brought to `width` channels and gets the enlarged coarser one added; all are
    smoothed, enlarged to the finest grid, put side by side and read by one convolution. Maps of a single stride are
    first made a pyramid of (a vision transformer's four maps at stride 16: 4, 8, 16, 32).

    Args, beside those of every `Decoder`:
        width: channels of all levels; the paper has 512.
    """

    def _build(self, width: int) -> None:
        self.pyramid = Pyramid(self.levels, width, halved=len(self.levels) > 1, per_slice=self.per_slice)
        levels, flat = self.pyramid.levels, self.per_slice
        self.laterals = nn.ModuleList(ConvNormGelu(count, width, 1, 1, per_slice=flat) for count, _ in levels[:-1])
        self.context = PyramidPooling(levels[-1][0], width, self.depth_kernel)
        self.smooth = nn.ModuleList(ConvNormGelu(width, width, self.depth_kernel) for _ in levels[:-1])
        self.fuse = ConvNormGelu(len(levels) * width, width, self.depth_kernel)
        self.head = nn.Conv3d(width, self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        pyramid = self.pyramid(maps)
        states = [lateral(own) for lateral, own in zip(self.laterals, pyramid, strict=False)]
        states.append(self.context(pyramid[-1]))
        for index in range(len(states) - 2, -1, -1):
            states[index] = states[index] + resize(states[index + 1], tuple(states[index].shape[2:]))
        smooth = [*self.smooth, nn.Identity()]
        return self.head(self.recomputed(self._fused, smooth, states))

    def _fused(self, smooth: Sequence[nn.Module], states: Sequence[Tensor]) -> Tensor:
        grid = tuple(states[0].shape[2:])
        return self.fuse(
            torch.cat([resize(block(state), grid) for block, state in zip(smooth, states, strict=True)], 1)
        )
