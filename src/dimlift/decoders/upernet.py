"""UPerNet: pyramid pooling on the coarsest map, a feature pyramid above it, all levels read at once.

- Xiao et al., 2018, https://arxiv.org/abs/1807.10221
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.decoders.blocks import ConvNormGelu, Grid, resize
from dimlift.decoders.levels import check_number, checked_levels
from dimlift.decoders.pooling import PyramidPooling
from dimlift.decoders.pyramid import Pyramid


class UPerNetDecoder(nn.Module):
    """Maps of several strides, or of one -> one map at the resolution of the volume.

    Each level but the coarsest is brought to `width` channels and gets the enlarged coarser one added; all are
    smoothed, enlarged to the finest grid, put side by side and read by one convolution. Maps of a single stride are
    first made a pyramid of (a vision transformer's four maps at stride 16: 4, 8, 16, 32).

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels of all levels; the paper has 512.
        depth_kernel: depth of the convolutions. 1 is the 2D network of the paper, on every slice for itself.
        gradient_checkpointing: recompute the smoothing of levels in the backward pass (less memory, more time).

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
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels, self.depth_kernel = out_channels, depth_kernel
        self.gradient_checkpointing = gradient_checkpointing
        given = checked_levels(channels, strides)
        self.pyramid = Pyramid(given, width, halved=len(given) > 1, per_slice=depth_kernel == 1)
        levels = self.pyramid.levels
        flat = depth_kernel == 1
        self.laterals = nn.ModuleList(ConvNormGelu(count, width, 1, 1, per_slice=flat) for count, _ in levels[:-1])
        self.context = PyramidPooling(levels[-1][0], width, depth_kernel)
        self.smooth = nn.ModuleList(ConvNormGelu(width, width, depth_kernel) for _ in levels[:-1])
        self.fuse = ConvNormGelu(len(levels) * width, width, depth_kernel)
        self.head = nn.Conv3d(width, out_channels, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first, to the grid of `image`.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, len(self.laterals) + 1)
        pyramid = self.pyramid(maps)
        states = [lateral(own) for lateral, own in zip(self.laterals, pyramid, strict=False)]
        states.append(self.context(pyramid[-1]))
        for index in range(len(states) - 2, -1, -1):
            states[index] = states[index] + resize(states[index + 1], tuple(states[index].shape[2:]), "trilinear")
        smooth = [*self.smooth, nn.Identity()]
        if self.gradient_checkpointing and self.training:
            fused = checkpoint(self._fused, smooth, states, use_reentrant=False)
        else:
            fused = self._fused(smooth, states)
        return resize(self.head(fused), tuple(image.shape[2:]), "trilinear")

    def _fused(self, smooth: Sequence[nn.Module], states: Sequence[Tensor]) -> Tensor:
        grid = tuple(states[0].shape[2:])
        return self.fuse(
            torch.cat([resize(block(state), grid, "trilinear") for block, state in zip(smooth, states, strict=True)], 1)
        )
