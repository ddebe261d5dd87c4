"""UperNeXt: all maps of a 3D-ConvNeXt on the finest of their grids, read by three large convolutions.

- Kienzle et al., 2022, https://arxiv.org/abs/2206.15073
"""

import torch
from torch import Tensor, nn

from dimlift.decoders.blocks import resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.norm import ChannelNorm

KERNEL = 7


class UperNeXtDecoder(Decoder):
    """Maps of any strides -> one map at the resolution of the volume, enlarged from the finest map's grid.

    Args, beside those of every `Decoder`:
        width: channels each map is brought to, and of the convolutions; the paper has 16.
        depth_kernel: 1 keeps slices apart; any other depth gives the paper's cubes of 7.
    """

    default_width = 16

    def _build(self, width: int) -> None:
        size = (1 if self.depth_kernel == 1 else KERNEL, KERNEL, KERNEL)

        def convolution(read: int, write: int) -> nn.Conv3d:
            return nn.Conv3d(read, write, size, padding=(size[0] // 2, KERNEL // 2, KERNEL // 2))

        def bend() -> nn.Sequential:
            return nn.Sequential(ChannelNorm(width), nn.ReLU())

        self.laterals = nn.ModuleList(nn.Sequential(nn.Conv3d(count, width, 1), bend()) for count, _ in self.levels)
        self.head = nn.Sequential(
            convolution(len(self.levels) * width, width), bend(), convolution(width, width), bend(),
            convolution(width, self.out_channels),
        )  # fmt: skip

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        grid = tuple(maps[0].shape[2:])
        read = [resize(lateral(own), grid) for lateral, own in zip(self.laterals, maps, strict=True)]
        # oneDNN's bfloat16 gradient of 3D kernels this large is wrong, up to infinite (torch 2.13, on a processor)
        with torch.autocast(image.device.type, enabled=False):
            return self.head(torch.cat(read, dim=1).float())
