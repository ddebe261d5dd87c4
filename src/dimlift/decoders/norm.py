"""Instance norm per volume or per slice, and layer norm over channels; both accept maps of a single voxel.

- Instance norm: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022
- Layer norm: Ba et al., 2016, https://arxiv.org/abs/1607.06450
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Instance norm with learnt scale and shift.

    torch's module rejects maps of a single voxel, which a small volume has at the coarsest stride of a deep encoder;
    here the output of such a map is the shift.

    Args:
        channels: channels of the volume.
        per_slice: compute statistics per slice; over the whole volume they mix slices.
    """

    def __init__(self, channels: int, per_slice: bool = False) -> None:
        super().__init__()
        self.per_slice = per_slice
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels depth height width"]:
        """Return the normalised volume."""
        if not self.per_slice:
            return self._norm(volume)
        batch, channels, depth, height, width = volume.shape
        slices = volume.transpose(1, 2).reshape(batch * depth, channels, height, width)
        return self._norm(slices).reshape(batch, depth, channels, height, width).transpose(1, 2)

    def _norm(self, maps: Tensor) -> Tensor:
        return torch.instance_norm(maps, self.weight, self.bias, None, None, True, 0.0, 1e-5, False)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position.

    It suits maps so small that statistics over positions would remove them, such as a global average.

    Args:
        channels: channels of the volume.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels depth height width"]:
        """Return the normalised volume."""
        return self.norm(volume.movedim(1, -1)).movedim(-1, 1)
