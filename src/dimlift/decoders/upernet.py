"""UPerNet: pyramid pooling on the coarsest map, a feature pyramid above it, all levels fused.

- Xiao et al., 2018, https://arxiv.org/abs/1807.10221
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGELU
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.placement import resample_map
from dimlift.decoders.pooling import PyramidPooling
from dimlift.decoders.pyramid import FeaturePyramid


class UPerNetDecoder(Decoder):
    """Maps of one or several strides -> output at the resolution of the volume.

    Each level but the coarsest is reduced to `decoder_channels` and the upsampled coarser level is added. All levels
    are smoothed, upsampled to the finest grid, concatenated and fused by one convolution. Maps of a single stride first
    become a pyramid (strides 4, 8, 16, 32 for the four maps of a vision transformer at stride 16).

    Args:
        decoder_channels: channels of all levels; 512 in the paper.
    """

    def _build(self, width: int) -> None:
        self.pyramid = FeaturePyramid(
            self.levels, width, downsample_last=len(self.levels) > 1, per_slice=self.per_slice
        )
        levels, per_slice = self.pyramid.levels, self.per_slice
        self.strides = [stride for _, stride in levels]
        self.out_stride = self.strides[0]
        self.laterals = nn.ModuleList(ConvNormGELU(count, width, 1, 1, per_slice=per_slice) for count, _ in levels[:-1])
        self.context = PyramidPooling(levels[-1][0], width, self.depth_kernel)
        self.smooth = nn.ModuleList(ConvNormGELU(width, width, self.depth_kernel) for _ in levels[:-1])
        self.fuse = ConvNormGELU(len(levels) * width, width, self.depth_kernel)
        self.head = nn.Conv3d(width, self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        pyramid = self.pyramid(maps)
        levels = [lateral(each) for lateral, each in zip(self.laterals, pyramid, strict=False)]
        levels.append(self.context(pyramid[-1]))
        for index in range(len(levels) - 2, -1, -1):
            grid = tuple(levels[index].shape[2:])
            coarser = resample_map(levels[index + 1], self.strides[index + 1], grid, self.strides[index])
            levels[index] = levels[index] + coarser
        smooth = [*self.smooth, nn.Identity()]
        return self.head(self.checkpointed(self._fuse, smooth, levels))

    def _fuse(self, smooth: Sequence[nn.Module], levels: Sequence[Tensor]) -> Tensor:
        grid = tuple(levels[0].shape[2:])
        smoothed = [
            resample_map(block(x), stride, grid, self.out_stride)
            for block, x, stride in zip(smooth, levels, self.strides, strict=True)
        ]
        return self.fuse(torch.cat(smoothed, 1))
