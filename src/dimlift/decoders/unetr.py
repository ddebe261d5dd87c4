"""UNETR's decoder: a U-Net whose skips are the encoder's maps and the volume itself.

- Hatamizadeh et al., UNETR, 2022, https://arxiv.org/abs/2103.10504
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.levels import Level, check_number, checked_levels, ratio
from dimlift.decoders.pyramid import Enlarge, Pyramid


class UNETRDecoder(nn.Module):
    """Maps of several strides, or of one, and the volume -> one map at the resolution of the volume.

    From the coarsest level to the finest: a transposed convolution to the next grid, the map of that grid put beside
    it, a residual block. Maps of a single stride are first made a pyramid of (a vision transformer's four maps at
    stride 16: 2, 4, 8, 16).

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels at stride 4; a quarter of it at full resolution, half at stride 2, twice as many from stride 8
            (64 gives the paper's 16, 32, 64, 128).
        image_channels: channels of the raw volume, the skip at full resolution; 0 leaves it out, and the answer of
            the finest map is enlarged instead.
        depth_kernel: depth of the convolutions. 1 works slice by slice: no slice sees another, unless the encoder
            strides in depth.
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
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels, self.depth_kernel = out_channels, depth_kernel
        self.gradient_checkpointing = gradient_checkpointing
        flat = depth_kernel == 1
        given = checked_levels(channels, strides)
        self.pyramid = Pyramid(given, width, per_slice=flat)
        self.reads_image = image_channels > 0
        skips: list[Level] = self.pyramid.levels
        if self.reads_image:
            skips = [(image_channels, (1, 1, 1)), *skips]
        widths = [_width_at(width, stride) for _, stride in skips]
        self.skips = nn.ModuleList(
            Residual(count, wide, depth_kernel) for (count, _), wide in zip(skips[:-1], widths[:-1], strict=True)
        )
        self.coarsest = ConvNormGelu(skips[-1][0], widths[-1], 1, 1, per_slice=flat)
        self.enlarge = nn.ModuleList(
            Enlarge(coarse, fine, ratio(skips[index][1], skips[index + 1][1]), flat)
            for index, (fine, coarse) in enumerate(itertools.pairwise(widths))
        )
        self.merge = nn.ModuleList(Residual(2 * wide, wide, depth_kernel) for wide in widths[:-1])
        self.head = nn.Conv3d(widths[0], out_channels, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first; `image` gives the grid of the answer and the finest skip.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, len(self.pyramid.levels))
        levels = self.pyramid(maps)
        if self.reads_image:
            levels = [image, *levels]
        state = self.coarsest(levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            if self.gradient_checkpointing and self.training:
                state = checkpoint(self._level, index, levels[index], state, use_reentrant=False)
            else:
                state = self._level(index, levels[index], state)
        return resize(self.head(state), tuple(image.shape[2:]), "trilinear")

    def _level(self, index: int, own: Tensor, coarser: Tensor) -> Tensor:
        enlarged = resize(self.enlarge[index](coarser), tuple(own.shape[2:]), "trilinear")
        return self.merge[index](torch.cat([enlarged, self.skips[index](own)], dim=1))


class Residual(nn.Module):
    """Two convolutions with instance norm, and a way past them.

    Args:
        in_channels: channels it reads.
        out_channels: channels it writes.
        depth_kernel: depth of the kernels; 1 keeps slices apart.
    """

    def __init__(self, in_channels: int, out_channels: int, depth_kernel: int = 3) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            ConvNormGelu(in_channels, out_channels, depth_kernel),
            ConvNormGelu(out_channels, out_channels, depth_kernel),
        )
        same = in_channels == out_channels
        self.past = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1, bias=False)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels2 depth height width"]:
        """The sum of both ways."""
        return self.blocks(volume) + self.past(volume)


def _width_at(width: int, stride: Grid) -> int:
    step = max(stride)
    return 2 * width if step >= 8 else width if step >= 4 else max(8, width // 2 if step >= 2 else width // 4)
