"""Volumes of any size through a network that wants multiples of its stride."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Grid = tuple[int, ...]
"""(z, y, x)"""


class AnySize(nn.Module):
    """Pads a volume by repeating its last voxels, asks the network, crops the answer.

    Args:
        network: maps (B, C, D, H, W) to (B, K, D, H, W) for sizes that are multiples of `multiple`.
        multiple: (z, y, x) voxels the network divides a volume by.
    """

    def __init__(self, network: nn.Module, multiple: Grid) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(
        self,
        volume: Float[Tensor, "batch channels depth height width"],
        *more: Float[Tensor, "batch _ depth height width"],
    ) -> Float[Tensor, "batch _ depth height width"]:
        """The network's answer for every voxel of `volume`; `more` are padded along and passed on."""
        size = tuple(volume.shape[2:])
        blocks = [-(-n // step) for n, step in zip(size, self.multiple, strict=True)]
        if max(blocks) == 1:
            blocks[-1] = 2  # a single voxel at the bottom of the network has no variance to normalise
        missing = [block * step - n for block, step, n in zip(blocks, self.multiple, size, strict=True)]
        if not any(missing):
            return self.network(volume, *more)
        after = (0, missing[2], 0, missing[1], 0, missing[0])
        answer = self.network(*(F.pad(each, after, mode="replicate") for each in (volume, *more)))
        return answer[:, :, : size[0], : size[1], : size[2]]
