"""Lifted 2D segmentation network, with its own decoder, for volumes of any size."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import PadToMultiple

MULTIPLE = (1, 32, 32)
"""(z, y, x) divisors of the input size for networks with five in-plane downsampling steps."""


class ResizeLogits(nn.Module):
    """Resize logits to the grid of the volume; some 2D networks predict at a quarter of the resolution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Return the logits of every voxel."""
        logits = self.network(volume)
        if logits.shape[2:] == volume.shape[2:]:
            return logits
        return F.interpolate(logits, volume.shape[2:], mode="trilinear")


def lifted_segmenter(lifted: nn.Module) -> PadToMultiple:
    """Return a lifted 2D segmentation network that accepts volumes of any size.

    Args:
        lifted: (B, C, D, H, W) -> logits (B, num_classes, D, H', W').
    """
    return PadToMultiple(ResizeLogits(lifted), MULTIPLE)
