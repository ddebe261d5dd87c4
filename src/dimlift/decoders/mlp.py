"""SegFormer's decoder: one linear layer a map, enlarged and added up, one more for the classes.

- Xie et al., 2021, https://arxiv.org/abs/2105.15203
"""

from torch import Tensor, nn

from dimlift.decoders.blocks import resize
from dimlift.decoders.decoder import Decoder, Maps
from dimlift.decoders.norm import InstanceNorm


class MLPDecoder(Decoder):
    """Maps of any strides -> one map at the resolution of the volume, at next to no cost.

    The paper has a linear layer for each map, puts the enlarged answers side by side and mixes them by another one.
    Nothing bends in between and enlarging is linear too, so both layers are one for each map, and the mixture a sum.

    Args, beside those of every `Decoder`:
        width: channels between the two layers; the paper has 256 and 768.
        depth_kernel: 1 takes the norm within each slice, so that no slice sees another; there is no kernel here.
    """

    def _build(self, width: int) -> None:
        self.layers = nn.ModuleList(nn.Conv3d(count, width, 1, bias=False) for count, _ in self.levels)
        self.norm = nn.Sequential(InstanceNorm(width, per_slice=self.per_slice), nn.GELU())
        self.head = nn.Conv3d(width, self.out_channels, 1)

    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        total = self.layers[0](maps[0])
        for layer, each in zip(self.layers[1:], maps[1:], strict=True):
            total = total + resize(layer(each), tuple(total.shape[2:]))
        return self.head(self.norm(total))
