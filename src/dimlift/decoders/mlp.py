"""SegFormer's decoder: one linear layer a map, enlarged and added up, one more for the classes.

- Xie et al., 2021, https://arxiv.org/abs/2105.15203
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import Grid, resize
from dimlift.decoders.levels import check_number, checked_levels
from dimlift.decoders.norm import InstanceNorm


class MLPDecoder(nn.Module):
    """Maps of any strides -> one map at the resolution of the volume, at next to no cost.

    The paper has a linear layer for each map, puts the enlarged answers side by side and mixes them by another one.
    Nothing bends in between and enlarging is linear too, so both layers are one for each map, and the mixture a sum.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels between the two layers; the paper has 256 and 768.
        depth_kernel: 1 takes the norm within each slice, so that no slice sees another; there is no kernel here.

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
        self.layers = nn.ModuleList(nn.Conv3d(count, width, 1, bias=False) for count, _ in levels)
        self.norm = nn.Sequential(InstanceNorm(width, per_slice=depth_kernel == 1), nn.GELU())
        self.head = nn.Conv3d(width, out_channels, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]], image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first, to the grid of `image`.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        check_number(maps, len(self.layers))
        total = self.layers[0](maps[0])
        for layer, each in zip(self.layers[1:], maps[1:], strict=True):
            total = total + resize(layer(each), tuple(total.shape[2:]), "trilinear")
        return resize(self.head(self.norm(total)), tuple(image.shape[2:]), "trilinear")
