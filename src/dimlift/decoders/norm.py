"""Instance norm over a volume or within each slice, and layer norm over channels, down to a single voxel.

- Instance norm: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022
- Layer norm: Ba et al., 2016, https://arxiv.org/abs/1607.06450
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Each channel of each volume (or of each slice) with mean 0 and variance 1, then scaled and shifted.

    torch's own module refuses a map of a single voxel, which a small volume has at the coarsest stride of a deep
    encoder; here such a map answers with the shift alone.

    Args:
        channels: channels of the volume.
        per_slice: statistics within each slice; over the whole volume they let slices talk.
    """

    def __init__(self, channels: int, per_slice: bool = False) -> None:
        super().__init__()
        self.per_slice = per_slice
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels depth height width"]:
        """The normalised volume."""
        if not self.per_slice:
            return self._norm(volume)
        batch, channels, depth, height, width = volume.shape
        slices = volume.transpose(1, 2).reshape(batch * depth, channels, height, width)
        return self._norm(slices).reshape(batch, depth, channels, height, width).transpose(1, 2)

    def _norm(self, maps: Tensor) -> Tensor:
        return torch.instance_norm(maps, self.weight, self.bias, None, None, True, 0.0, 1e-5, False)


class ChannelNorm(nn.Module):
    """Each position with mean 0 and variance 1 over its channels, then scaled and shifted (layer norm over channels).

    For maps so small that statistics over positions would erase them, such as what is left of a global average.

    Args:
        channels: channels of the volume.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels depth height width"]:
        """The normalised volume."""
        return self.norm(volume.movedim(1, -1)).movedim(-1, 1)
