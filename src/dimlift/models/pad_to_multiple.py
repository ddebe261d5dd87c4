"""Padding of volumes for networks that need sizes divisible by their stride, or one fixed size."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError

Grid = tuple[int, ...]
"""(z, y, x)"""


class PadToMultiple(nn.Module):
    """Pad a volume to multiples of a size by repeating its last voxels, run the network, crop the output.

    Args:
        network: (B, C, D, H, W) -> (B, K, D, H, W) for sizes that are multiples of `multiple`.
        multiple: (z, y, x) divisors of the input size.
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
        """Return the output of the network on the grid of `volume`.

        Args:
            volume: the volume.
            more: further inputs, padded accordingly; their grids may be coarser by whole factors.
        """
        size = tuple(volume.shape[2:])
        blocks = [-(-n // step) for n, step in zip(size, self.multiple, strict=True)]
        if max(blocks) == 1:
            blocks[-1] = 2  # a single voxel at the coarsest level has no variance to normalise by
        missing = [block * step - n for block, step, n in zip(blocks, self.multiple, size, strict=True)]
        if not any(missing):
            return self.network(volume, *more)
        output = self.network(*(_pad(each, size, missing) for each in (volume, *more)))
        return output[:, :, : size[0], : size[1], : size[2]]


class PadToSize(nn.Module):
    """Pad a volume to the fixed input size of a network by repeating its last voxels, and crop the output.

    Args:
        network: (B, C, *size) -> (B, K, *size).
        size: (z, y, x) voxels.
    """

    def __init__(self, network: nn.Module, size: Grid) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch _ depth height width"]:
        """Return the output of the network on the grid of `volume`.

        Raises:
            ShapeError: if the volume is larger than the input size.
        """
        size = tuple(volume.shape[2:])
        missing = [most - n for most, n in zip(self.size, size, strict=True)]
        if min(missing) < 0:
            raise ShapeError(
                f"this network was built for volumes of at most {self.size} voxels, got {size}; use windows of that "
                "size, or build it for larger volumes"
            )
        output = self.network(_pad(volume, size, missing) if any(missing) else volume)
        return output[:, :, : size[0], : size[1], : size[2]]


def _pad(tensor: Tensor, size: tuple[int, ...], missing: list[int]) -> Tensor:
    """Repeat the last voxels of a tensor on the grid `size`, or on a coarser one, over `missing` more voxels."""
    after = []
    for have, n, more in zip(tensor.shape[2:], size, missing, strict=True):
        step = round(n / have)
        after.append(-(-(n + more) // step) - have)
    return F.pad(tensor, (0, after[2], 0, after[1], 0, after[0]), mode="replicate")
