"""A U-Net that takes extra features at its deeper levels: cheaper than at full resolution, where voxels are many."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.layers.simplelayers import SkipConnection
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import AnySize
from dimlift.models.unet import plain_unet


class InjectedUNet(nn.Module):
    """MONAI's U-Net; behind every block on the way down, projected features are added.

    The features are averaged onto the grid of the level (the first level of this U-Net lies at half resolution, so they
    need not be finer than that), pass a 1x1x1 convolution that starts at zero, and are added: the network starts as
    the plain U-Net.

    Args:
        in_channels: channels of the image.
        features: channels of the features.
        classes: channels of the answer.
        widths: channels of the levels, finest first.
        residual_units: convolutions in each residual block.
    """

    def __init__(
        self,
        in_channels: int,
        features: int,
        classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        residual_units: int = 0,
    ) -> None:
        super().__init__()
        padded = plain_unet(in_channels, classes, widths=widths, residual_units=residual_units)
        self.unet: Any = padded.network  # MONAI's own parts are walked one by one
        self.multiple = padded.multiple
        self.inject = nn.ModuleList(_silent(features, width) for width in widths)

    def forward(
        self, image: Float[Tensor, "batch channels *grid"], features: Float[Tensor, "batch features *coarser"]
    ) -> Float[Tensor, "batch classes *grid"]:
        """Answer for every voxel; sizes must be multiples of the strides (`injected_unet` takes any)."""
        return self._level(self.unet.model, image, features, 0)

    def _level(self, block: Any, state: Tensor, features: Tensor, level: int) -> Tensor:
        # MONAI nests a level as (down, skip around the next level, up), and ends in a single block, itself a
        # Sequential where it has no residual units.
        if not (isinstance(block, nn.Sequential) and isinstance(block[1], SkipConnection)):
            return self._add(block(state), features, level)
        down, skip, up = block
        state = self._add(down(state), features, level)
        deeper = self._level(skip.submodule, state, features, level + 1)
        return up(torch.cat([state, deeper], dim=1))

    def _add(self, state: Tensor, features: Tensor, level: int) -> Tensor:
        return state + self.inject[level](F.interpolate(features, tuple(state.shape[2:]), mode="area"))


def _silent(features: int, width: int) -> nn.Conv3d:
    layer = nn.Conv3d(features, width, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def injected_unet(
    in_channels: int, features: int, classes: int, *, widths: Sequence[int] = (16, 32, 64, 128), residual_units: int = 0
) -> AnySize:
    """`InjectedUNet` for volumes of any size; call it with (image, features)."""
    network = InjectedUNet(in_channels, features, classes, widths=widths, residual_units=residual_units)
    return AnySize(network, network.multiple)
