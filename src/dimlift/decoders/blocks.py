"""Building blocks of decoders: convolution with norm and activation, residual block, resizing."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.norm import InstanceNorm

Grid = tuple[int, ...]
"""(z, y, x)"""


class ConvNormGELU(nn.Sequential):
    """3D convolution, instance norm, GELU; keeps the grid if `stride` is 1.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        depth_kernel: depth of the kernel. 1 also computes the norm per slice, so that slices stay separate.
        kernel: height and width of the kernel.
        stride: (z, y, x) stride of the kernel.
        per_slice: compute the norm per slice; by default if `depth_kernel` is 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth_kernel: int = 3,
        kernel: int = 3,
        stride: Grid = (1, 1, 1),
        per_slice: bool | None = None,
    ) -> None:
        size = (depth_kernel, kernel, kernel)
        padding = (depth_kernel // 2, kernel // 2, kernel // 2)
        step = (stride[0], stride[1], stride[2])
        super().__init__(
            nn.Conv3d(in_channels, out_channels, size, step, padding, bias=False),
            InstanceNorm(out_channels, depth_kernel == 1 if per_slice is None else per_slice),
            nn.GELU(),
        )


class UpsampleConv(nn.Sequential):
    """Transposed convolution whose kernel is its stride, instance norm, GELU.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        factor: (z, y, x) upsampling factor.
        per_slice: compute the norm per slice.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: Grid, per_slice: bool = False) -> None:
        size = (factor[0], factor[1], factor[2])
        super().__init__(
            nn.ConvTranspose3d(in_channels, out_channels, size, size, bias=False),
            InstanceNorm(out_channels, per_slice),
            nn.GELU(),
        )


def resize(volume: Float[Tensor, "batch channels _ _ _"], grid: Grid) -> Float[Tensor, "batch channels _ _ _"]:
    """Resample to another grid over the same extent, with pixel centres at +0.5; unchanged if the grid is the same."""
    if tuple(volume.shape[2:]) == grid:
        return volume
    return F.interpolate(volume, grid, mode="trilinear", align_corners=False)
