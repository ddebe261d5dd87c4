"""TransUNet's cascaded upsampler: double the grid, put the encoder's map beside it, convolve twice.

- Chen et al., TransUNet, 2021, https://arxiv.org/abs/2102.04306
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.levels import check_number, checked_levels


class CascadedUpsampler(nn.Module):
    """Maps of several strides, or of one -> one map at the resolution of the volume.

    From the coarsest map on, each step goes to the grid of the next finer one and puts it beside; behind the finest,
    steps double the grid until it is the volume's.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels from stride 8 on; a half of it at stride 4, a quarter at 2, a sixteenth at full resolution, and
            twice as many before the first step (the paper's 512, 256, 128, 64, 16 for 256).
        depth_kernel: depth of the convolutions. 1 works slice by slice: no slice sees another.

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
        depth_kernel: int = 3,
    ) -> None:
        super().__init__()
        self.out_channels, self.depth_kernel = out_channels, depth_kernel
        levels = checked_levels(channels, strides)
        self.maps = len(levels)
        beside = list(levels[-2::-1])
        stride = levels[0][1]
        while max(stride) > 1:
            stride = tuple(-(-step // 2) for step in stride)
            beside.append((0, stride))
        self.strides = [step for _, step in beside]
        state = 2 * width
        self.first = ConvNormGelu(levels[-1][0], state, depth_kernel)
        self.steps = nn.ModuleList()
        for count, step in beside:
            wide = _width_at(width, step)
            self.steps.append(
                nn.Sequential(ConvNormGelu(state + count, wide, depth_kernel), ConvNormGelu(wide, wide, depth_kernel))
            )
            state = wide
        self.head = nn.Conv3d(state, out_channels, (depth_kernel, 3, 3), padding=(depth_kernel // 2, 1, 1))

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first, to the grid of `image`.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, self.maps)
        size = tuple(image.shape[2:])
        state = self.first(maps[-1])
        skips = [*maps[-2::-1], *[None] * len(self.steps)]
        for step, stride, skip in zip(self.steps, self.strides, skips, strict=False):
            if skip is None:
                state = resize(state, tuple(-(-n // by) for n, by in zip(size, stride, strict=True)), "trilinear")
            else:
                state = torch.cat([resize(state, tuple(skip.shape[2:]), "trilinear"), skip], dim=1)
            state = step(state)
        return resize(self.head(state), size, "trilinear")


def _width_at(width: int, stride: Grid) -> int:
    step = max(stride)
    return max(4, width if step >= 8 else width // 2 if step >= 4 else width // 4 if step >= 2 else width // 16)
