"""UperNeXt: all maps of a 3D-ConvNeXt on the finest of their grids, fused by three large convolutions.

- Kienzle et al., 2022, https://arxiv.org/abs/2206.15073
"""

import torch
from torch import Tensor, nn

from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.norm import ChannelNorm
from dimlift.decoders.placement import resample_map

KERNEL = 7


class UperNeXtDecoder(Decoder):
    """Maps of any strides -> output at the resolution of the volume, upsampled from the grid of the finest map.

    Args:
        decoder_channels: channels of each reduced map and of the convolutions; 16 in the paper.
        depth_kernel: 1 keeps slices separate; any other depth gives the cubes of 7 of the paper.
    """

    default_channels = 16

    def _build(self, width: int) -> None:
        size = (1 if self.depth_kernel == 1 else KERNEL, KERNEL, KERNEL)

        def conv(in_channels: int, out_channels: int) -> nn.Conv3d:
            return nn.Conv3d(in_channels, out_channels, size, padding=(size[0] // 2, KERNEL // 2, KERNEL // 2))

        def norm_relu() -> nn.Sequential:
            return nn.Sequential(ChannelNorm(width), nn.ReLU())

        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv3d(count, width, 1), norm_relu()) for count, _ in self.levels
        )
        self.head = nn.Sequential(
            conv(len(self.levels) * width, width), norm_relu(), conv(width, width), norm_relu(),
            conv(width, self.out_channels),
        )  # fmt: skip

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        grid, finest = tuple(maps[0].shape[2:]), self.levels[0][1]
        levels = [
            resample_map(lateral(each), stride, grid, finest)
            for lateral, each, (_, stride) in zip(self.laterals, maps, self.levels, strict=True)
        ]
        # oneDNN's bfloat16 gradient of 3D kernels this large is wrong, up to infinite (torch 2.13, on a CPU)
        with torch.autocast(image.device.type, enabled=False):
            return self.head(torch.cat(levels, dim=1).float())
