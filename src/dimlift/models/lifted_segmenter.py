"""Lifted 2D segmentation network, with its own decoder, for volumes of any size."""

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.placement import resample_map
from dimlift.models.encoder_protocol import map_starts
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
        stride = next(iter(getattr(self.network, "strides", ())), (1, 1, 1))
        start = next(iter(map_starts(self.network)), (0, 0, 0))
        return resample_map(logits, stride, tuple(volume.shape[2:]), (1, 1, 1), start)


def lifted_segmenter(lifted: nn.Module) -> PadToMultiple:
    """Return a lifted 2D segmentation network that accepts volumes of any size.

    Args:
        lifted: (B, C, D, H, W) -> logits (B, num_classes, D, H', W').
    """
    return PadToMultiple(ResizeLogits(lifted), MULTIPLE)
