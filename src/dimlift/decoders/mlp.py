"""Decoder of SegFormer: one linear layer per map, upsampled and summed, one more for the output.

- Xie et al., 2021, https://arxiv.org/abs/2105.15203
"""

from torch import Tensor, nn

from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.norm import InstanceNorm
from dimlift.decoders.placement import resample_map


class MLPDecoder(Decoder):
    """Maps of any strides -> output at the resolution of the volume, at little cost.

    The paper applies a linear layer per map, concatenates the upsampled maps and mixes them by another linear layer.
    Without a nonlinearity in between, and with linear upsampling, this equals one linear layer per map and a sum.

    Args:
        decoder_channels: channels between the two layers; 256 and 768 in the paper.
        depth_kernel: 1 computes the norm per slice, so that slices stay separate; there are no other kernels here.
    """

    def _build(self, width: int) -> None:
        self.layers = nn.ModuleList(nn.Conv3d(count, width, 1, bias=False) for count, _ in self.levels)
        self.norm = nn.Sequential(InstanceNorm(width, per_slice=self.per_slice), nn.GELU())
        self.head = nn.Conv3d(width, self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        total = self.layers[0](maps[0])
        grid, finest = tuple(total.shape[2:]), self.levels[0][1]
        for layer, each, (_, stride) in zip(self.layers[1:], maps[1:], self.levels[1:], strict=True):
            total = total + resample_map(layer(each), stride, grid, finest)
        return self.head(self.norm(total))
