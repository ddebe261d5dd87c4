"""Volumes of any size through a network that wants multiples of its stride, or one size."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError

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
        """The network's answer for every voxel of `volume`; `more` are padded along and passed on.

        `more` may lie on coarser grids, a whole number of voxels to each of theirs.
        """
        size = tuple(volume.shape[2:])
        blocks = [-(-n // step) for n, step in zip(size, self.multiple, strict=True)]
        if max(blocks) == 1:
            blocks[-1] = 2  # a single voxel at the bottom of the network has no variance to normalise
        missing = [block * step - n for block, step, n in zip(blocks, self.multiple, size, strict=True)]
        if not any(missing):
            return self.network(volume, *more)
        answer = self.network(*(_padded(each, size, missing) for each in (volume, *more)))
        return answer[:, :, : size[0], : size[1], : size[2]]


class OneSize(nn.Module):
    """Pads a volume to the one size its network takes, by repeating its last voxels, and crops the answer.

    Args:
        network: maps (B, C, *size) to (B, K, *size).
        size: (z, y, x) voxels.
    """

    def __init__(self, network: nn.Module, size: Grid) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch _ depth height width"]:
        """The network's answer for every voxel of `volume`.

        Raises:
            ShapeError: if the volume is larger.
        """
        size = tuple(volume.shape[2:])
        missing = [most - n for most, n in zip(self.size, size, strict=True)]
        if min(missing) < 0:
            raise ShapeError(
                f"this network was built for volumes of at most {self.size} voxels, got {size}; "
                "give it windows of that size, or build it for more"
            )
        answer = self.network(_padded(volume, size, missing) if any(missing) else volume)
        return answer[:, :, : size[0], : size[1], : size[2]]


def _padded(tensor: Tensor, size: tuple[int, ...], missing: list[int]) -> Tensor:
    """Repeat the last voxels of a tensor that lies on the voxels of `size`, or on coarser ones, over `missing` more."""
    after = []
    for have, n, more in zip(tensor.shape[2:], size, missing, strict=True):
        step = round(n / have)
        after.append(-(-(n + more) // step) - have)
    return F.pad(tensor, (0, after[2], 0, after[1], 0, after[0]), mode="replicate")
