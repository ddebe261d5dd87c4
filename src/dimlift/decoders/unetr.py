"""UNETR's decoder: a U-Net whose skips are the encoder's maps and the volume itself.

- Hatamizadeh et al., UNETR, 2022, https://arxiv.org/abs/2103.10504
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.levels import Level, ratio
from dimlift.decoders.pyramid import Enlarge, Pyramid


class UNETRDecoder(Decoder):
    """Maps of several strides, or of one, and the volume -> one map at the resolution of the volume.

    From the coarsest level to the finest: a transposed convolution to the next grid, the map of that grid put beside
    it, a residual block. Maps of a single stride are first made a pyramid of (a vision transformer's four maps at
    stride 16: 2, 4, 8, 16).

    Args, beside those of every `Decoder`:
        width: channels at stride 4; a quarter of it at full resolution, half at stride 2, twice as many from stride 8
            (64 gives the paper's 16, 32, 64, 128).
        image_channels: channels of the raw volume, the skip at full resolution; 0 leaves it out, and the answer of
            the finest map is enlarged instead.
    """

    def _build(self, width: int) -> None:
        self.pyramid = Pyramid(self.levels, width, per_slice=self.per_slice)
        skips: list[Level] = self.pyramid.levels
        if self.image_channels:
            skips = [(self.image_channels, (1, 1, 1)), *skips]
        widths = [_width_at(width, stride) for _, stride in skips]
        self.skips = nn.ModuleList(
            Residual(count, wide, self.depth_kernel) for (count, _), wide in zip(skips[:-1], widths[:-1], strict=True)
        )
        self.coarsest = ConvNormGelu(skips[-1][0], widths[-1], 1, 1, per_slice=self.per_slice)
        self.enlarge = nn.ModuleList(
            Enlarge(coarse, fine, ratio(skips[index][1], skips[index + 1][1]), self.per_slice)
            for index, (fine, coarse) in enumerate(itertools.pairwise(widths))
        )
        self.merge = nn.ModuleList(Residual(2 * wide, wide, self.depth_kernel) for wide in widths[:-1])
        self.head = nn.Conv3d(widths[0], self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        levels = self.pyramid(maps)
        if self.image_channels:
            levels = [image, *levels]
        state = self.coarsest(levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            state = self.recomputed(self._level, index, levels[index], state)
        return self.head(state)

    def _level(self, index: int, own: Tensor, coarser: Tensor) -> Tensor:
        enlarged = resize(self.enlarge[index](coarser), tuple(own.shape[2:]))
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
