"""A light decoder over the maps of an encoder: lateral 1x1x1, upsample, add, one 3x3x3 convolution a level.

The lateral and top-down scheme is the feature pyramid's (Lin et al., 2017, https://arxiv.org/abs/1612.03144). Encoders
made for photographs start at stride 2 or 4, where a small structure is already gone, so an image path can bring the
raw volume back at half and full resolution.
"""

import itertools

from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import Level, level_width


class LightDecoder(Decoder):
    """Maps of several strides -> one map at the resolution of the volume.

    Any grid will do: a level is resized to the grid its own map has, so odd sizes need no padding.

    Args, beside those of every `Decoder`:
        width: channels of the levels whose in-plane stride is 4 or more; finer levels take half and a quarter of it.
        image_channels: channels of the raw volume, for the image path; 0 leaves the path out, and the answer of the
            finest map is upsampled instead.
    """

    def _build(self, width: int) -> None:
        levels = self.levels
        paths: list[nn.Module] = []
        if self.image_channels:
            paths, levels = _image_levels(levels, self.image_channels, width, self.depth_kernel)
        widths = [level_width(width, stride) for _, stride in levels]
        self.image_path = nn.ModuleList(paths)
        self.laterals = nn.ModuleList(
            nn.Conv3d(count, wide, 1) for (count, _), wide in zip(levels, widths, strict=True)
        )
        # Narrowing before upsampling is the same linear map as after it, at a fraction of the voxels.
        self.narrow = nn.ModuleList(
            nn.Identity() if fine == coarse else nn.Conv3d(coarse, fine, 1, bias=False)
            for fine, coarse in itertools.pairwise(widths)
        )
        self.smooth = nn.ModuleList(ConvNormGelu(wide, wide, self.depth_kernel) for wide in widths)
        self.head = nn.Conv3d(widths[0], self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        rising: list[Tensor] = []
        for block in self.image_path:
            rising.append(block(rising[-1] if rising else image))
        pyramid = [*rising, *maps]
        state = self._level(len(pyramid) - 1, pyramid[-1], None)
        for index in range(len(pyramid) - 2, -1, -1):
            state = self.recomputed(self._level, index, pyramid[index], state)
        return self.head(state)

    def _level(self, index: int, own: Tensor, coarser: Tensor | None) -> Tensor:
        state = self.laterals[index](own)
        if coarser is not None:
            state = state + resize(self.narrow[index](coarser), tuple(own.shape[2:]))
        return self.smooth[index](state)


def _image_levels(
    levels: list[Level], image_channels: int, width: int, depth_kernel: int
) -> tuple[list[nn.Module], list[Level]]:
    """Blocks that read the volume at full and, where the encoder does not, at half resolution; and all levels."""
    full: Grid = (1, 1, 1)
    finest = levels[0][1]
    half = tuple(min(2, step) for step in finest)
    count = level_width(width, full)
    blocks: list[nn.Module] = [ConvNormGelu(image_channels, count, depth_kernel)]
    added: list[Level] = [(count, full)]
    if half not in (full, finest):
        wide = level_width(width, half)
        blocks.append(ConvNormGelu(count, wide, depth_kernel, stride=half))
        added.append((wide, half))
    return blocks, added + levels
