"""A light decoder over the maps of an encoder: lateral 1x1x1, upsample, add, one 3x3x3 convolution a level.

The lateral and top-down scheme is the feature pyramid's (Lin et al., 2017, https://arxiv.org/abs/1612.03144). Encoders
made for photographs start at stride 2 or 4, where a small structure is already gone, so an image path can bring the
raw volume back at half and full resolution.
"""

import itertools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.levels import Level, check_number, checked_levels, level_width


class LightDecoder(nn.Module):
    """Maps of several strides -> one map at the resolution of the volume.

    Any grid will do: a level is resized to the grid its own map has, so odd sizes need no padding.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels of the levels whose in-plane stride is 4 or more; finer levels take half and a quarter of it.
        image_channels: channels of the raw volume, for the image path; 0 leaves the path out, and the answer of the
            finest map is upsampled instead.
        depth_kernel: depth of the convolutions. 1 gives a decoder that works slice by slice: no slice sees another.
        upsample: "trilinear" or "nearest".
        gradient_checkpointing: recompute the levels in the backward pass (less memory, more time).

    Raises:
        ShapeError: if channels and strides do not fit together, or the strides fall.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Grid],
        out_channels: int,
        *,
        width: int = 64,
        image_channels: int = 0,
        depth_kernel: int = 3,
        upsample: str = "trilinear",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        levels = checked_levels(channels, strides)
        self.out_channels, self.depth_kernel = out_channels, depth_kernel
        self.upsample, self.gradient_checkpointing = upsample, gradient_checkpointing
        paths: list[nn.Module] = []
        if image_channels:
            paths, levels = _image_levels(levels, image_channels, width, depth_kernel)
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
        self.smooth = nn.ModuleList(ConvNormGelu(wide, wide, depth_kernel) for wide in widths)
        self.head = nn.Conv3d(widths[0], out_channels, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first; `image` gives the grid of the answer and feeds the image path.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, len(self.laterals) - len(self.image_path))
        rising: list[Tensor] = []
        for block in self.image_path:
            rising.append(block(rising[-1] if rising else image))
        pyramid = [*rising, *maps]
        state = self._level(len(pyramid) - 1, pyramid[-1], None)
        for index in range(len(pyramid) - 2, -1, -1):
            if self.gradient_checkpointing and self.training:
                state = checkpoint(self._level, index, pyramid[index], state, use_reentrant=False)
            else:
                state = self._level(index, pyramid[index], state)
        return resize(self.head(state), tuple(image.shape[2:]), self.upsample)

    def _level(self, index: int, own: Tensor, coarser: Tensor | None) -> Tensor:
        state = self.laterals[index](own)
        if coarser is not None:
            state = state + resize(self.narrow[index](coarser), tuple(own.shape[2:]), self.upsample)
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
