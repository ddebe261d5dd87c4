"""U-Net that adds external features behind its encoder blocks, which is cheaper than at full resolution."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.layers.simplelayers import SkipConnection
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import Grid, PadToMultiple
from dimlift.models.unet import plain_unet


class FeatureFusionUNet(nn.Module):
    """MONAI U-Net with projected features added behind every encoder block.

    Features are averaged onto the grid of the level, pass a zero-initialised 1x1x1 convolution and are added, so that
    the network starts as the plain U-Net. Its first level is at half resolution, so features need not be finer.

    Args:
        in_channels: channels of the image.
        feature_channels: channels of the features.
        num_classes: channels of the logits.
        widths: channels of the levels, finest first.
        residual_units: convolutions per residual block.
        strides: (z, y, x) between levels; 2 everywhere if None.
    """

    def __init__(
        self,
        in_channels: int,
        feature_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        residual_units: int = 0,
        strides: Sequence[Grid] | None = None,
    ) -> None:
        super().__init__()
        padded = plain_unet(in_channels, num_classes, widths=widths, residual_units=residual_units, strides=strides)
        self.unet: Any = padded.network  # submodules of MONAI are accessed one by one
        self.multiple = padded.multiple
        self.fusion = nn.ModuleList(_zero_init_conv(feature_channels, width) for width in widths)

    def forward(
        self, image: Float[Tensor, "batch channels *grid"], features: Float[Tensor, "batch features *coarser"]
    ) -> Float[Tensor, "batch classes *grid"]:
        """Return logits; sizes must be multiples of the strides (`feature_fusion_unet` accepts any size)."""
        return self._level(self.unet.model, image, features, 0)

    def _level(self, block: Any, x: Tensor, features: Tensor, level: int) -> Tensor:
        # MONAI nests a level as (down, skip around the next level, up); the last level is a single block, itself a
        # Sequential if it has no residual units
        if not (isinstance(block, nn.Sequential) and isinstance(block[1], SkipConnection)):
            return self._add(block(x), features, level)
        down, skip, up = block
        x = self._add(down(x), features, level)
        deeper = self._level(skip.submodule, x, features, level + 1)
        return up(torch.cat([x, deeper], dim=1))

    def _add(self, x: Tensor, features: Tensor, level: int) -> Tensor:
        return x + self.fusion[level](F.interpolate(features, tuple(x.shape[2:]), mode="area"))


def _zero_init_conv(in_channels: int, out_channels: int) -> nn.Conv3d:
    conv = nn.Conv3d(in_channels, out_channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def feature_fusion_unet(
    in_channels: int,
    feature_channels: int,
    num_classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    residual_units: int = 0,
    strides: Sequence[Grid] | None = None,
) -> PadToMultiple:
    """Return a `FeatureFusionUNet` for volumes of any size; its inputs are (image, features)."""
    network = FeatureFusionUNet(
        in_channels, feature_channels, num_classes, widths=widths, residual_units=residual_units, strides=strides
    )
    return PadToMultiple(network, network.multiple)
