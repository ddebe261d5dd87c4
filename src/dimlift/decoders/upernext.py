"""UperNeXt: all maps of a 3D-ConvNeXt on the finest of their grids, read by three large convolutions.

- Kienzle et al., 2022, https://arxiv.org/abs/2206.15073
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import Grid, resize
from dimlift.decoders.levels import check_number, checked_levels
from dimlift.decoders.norm import ChannelNorm

KERNEL = 7


class UperNeXtDecoder(nn.Module):
    """Maps of any strides -> one map at the resolution of the volume, enlarged from the finest map's grid.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels each map is brought to, and of the convolutions; the paper has 16.
        depth_kernel: 1 keeps slices apart; any other depth gives the paper's cubes of 7.

    Raises:
        ShapeError: if channels and strides do not fit together, or the strides fall.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Grid],
        out_channels: int,
        *,
        width: int = 16,
        depth_kernel: int = 3,
    ) -> None:
        super().__init__()
        self.out_channels, self.depth_kernel = out_channels, depth_kernel
        levels = checked_levels(channels, strides)
        size = (1 if depth_kernel == 1 else KERNEL, KERNEL, KERNEL)

        def convolution(read: int, write: int) -> nn.Conv3d:
            return nn.Conv3d(read, write, size, padding=(size[0] // 2, KERNEL // 2, KERNEL // 2))

        def bend() -> nn.Sequential:
            return nn.Sequential(ChannelNorm(width), nn.ReLU())

        self.laterals = nn.ModuleList(nn.Sequential(nn.Conv3d(count, width, 1), bend()) for count, _ in levels)
        self.head = nn.Sequential(
            convolution(len(levels) * width, width), bend(), convolution(width, width), bend(),
            convolution(width, out_channels),
        )  # fmt: skip

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first, to the grid of `image`.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, len(self.laterals))
        grid = tuple(maps[0].shape[2:])
        read = [resize(lateral(own), grid, "trilinear") for lateral, own in zip(self.laterals, maps, strict=True)]
        # oneDNN's bfloat16 gradient of 3D kernels this large is wrong, up to infinite (torch 2.13, on a processor)
        with torch.autocast(image.device.type, enabled=False):
            answer = self.head(torch.cat(read, dim=1).float())
        return resize(answer, tuple(image.shape[2:]), "trilinear")
