"""Feature pyramid decoder: lateral 1x1x1 convolutions, top-down additions, one 3x3x3 convolution per level.

The scheme is that of the feature pyramid network (Lin et al., 2017, https://arxiv.org/abs/1612.03144). Encoders for
natural images start at stride 2 or 4, where small structures are lost, so that the raw volume can be added at half and
full resolution.
"""

import itertools

from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGELU, Grid
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import Level, level_width
from dimlift.decoders.placement import resample_map


class FPNDecoder(Decoder):
    """Maps of several strides -> output at the resolution of the volume.

    Any input size is supported: each level is resampled to the grid of its map, at the strides of both.

    Args:
        decoder_channels: channels of levels with an in-plane stride of 4 or more; finer levels have half and a quarter.
        image_channels: channels of the raw volume for the image skip; 0 disables it, and the output of the finest map
            is upsampled instead.
    """

    def _build(self, width: int) -> None:
        levels = self.levels
        image_blocks: list[nn.Module] = []
        if self.image_channels:
            image_blocks, levels = _image_levels(levels, self.image_channels, width, self.depth_kernel)
        self.strides = [stride for _, stride in levels]
        self.out_stride = self.strides[0]
        widths = [level_width(width, stride) for _, stride in levels]
        self.image_skip = nn.ModuleList(image_blocks)
        self.laterals = nn.ModuleList(nn.Conv3d(count, out, 1) for (count, _), out in zip(levels, widths, strict=True))
        # Reducing channels before upsampling is the same linear map as after it, at a fraction of the voxels.
        self.narrow = nn.ModuleList(
            nn.Identity() if fine == coarse else nn.Conv3d(coarse, fine, 1, bias=False)
            for fine, coarse in itertools.pairwise(widths)
        )
        self.smooth = nn.ModuleList(ConvNormGELU(out, out, self.depth_kernel) for out in widths)
        self.head = nn.Conv3d(widths[0], self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        image_maps: list[Tensor] = []
        for block in self.image_skip:
            image_maps.append(block(image_maps[-1] if image_maps else image))
        pyramid = [*image_maps, *maps]
        x = self._level(len(pyramid) - 1, pyramid[-1], None)
        for index in range(len(pyramid) - 2, -1, -1):
            x = self.checkpointed(self._level, index, pyramid[index], x)
        return self.head(x)

    def _level(self, index: int, skip: Tensor, coarser: Tensor | None) -> Tensor:
        x = self.laterals[index](skip)
        if coarser is not None:
            finer = tuple(skip.shape[2:])
            narrow = self.narrow[index](coarser)
            x = x + resample_map(narrow, self.strides[index + 1], finer, self.strides[index])
        return self.smooth[index](x)


def _image_levels(
    levels: list[Level], image_channels: int, width: int, depth_kernel: int
) -> tuple[list[nn.Module], list[Level]]:
    """Return blocks for the volume at full and, if the encoder has no such map, half resolution; and all levels."""
    full: Grid = (1, 1, 1)
    finest = levels[0][1]
    half = tuple(2 if step >= 2 else 1 for step in finest)
    count = level_width(width, full)
    blocks: list[nn.Module] = [ConvNormGELU(image_channels, count, depth_kernel)]
    added: list[Level] = [(count, full)]
    if half not in (full, finest):
        out = level_width(width, half)
        blocks.append(ConvNormGELU(count, out, depth_kernel, stride=half))
        added.append((out, half))
    return blocks, added + levels
