"""A 2D segmentation network lifted whole: its own decoder answers for every voxel."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import AnySize

MULTIPLE = (1, 32, 32)
"""(z, y, x) voxels that networks of five halvings in the plane want a volume to be a multiple of."""


class FullSize(nn.Module):
    """Answers at the resolution of the volume; some 2D networks answer at a quarter of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Logits of every voxel."""
        logits = self.network(volume)
        if logits.shape[2:] == volume.shape[2:]:
            return logits
        return F.interpolate(logits, volume.shape[2:], mode="trilinear")


def whole_segmenter(lifted: nn.Module) -> AnySize:
    """A lifted 2D segmentation network for volumes of any size.

    Args:
        lifted: answers (B, classes, D, H', W').
    """
    return AnySize(FullSize(lifted), MULTIPLE)
