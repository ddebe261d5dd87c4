"""What decoders are made of: convolution with norm and GELU, and resizing to a given grid."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.norm import InstanceNorm

Grid = tuple[int, ...]
"""(z, y, x)"""


class ConvNormGelu(nn.Sequential):
    """3D convolution, instance norm, GELU; keeps the grid unless `stride` says otherwise.

    Args:
        in_channels: channels it reads.
        out_channels: channels it writes.
        depth_kernel: extent of the kernel through the slices. 1 also keeps the norm within each slice, so that no
            slice sees another.
        kernel: extent of the kernel within a slice.
        stride: (z, y, x) step of the kernel.
        per_slice: norm within each slice; if not said, where the kernel is flat.
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


def resize(volume: Float[Tensor, "batch channels _ _ _"], grid: Grid) -> Float[Tensor, "batch channels _ _ _"]:
    """`volume` on another grid over the same extent, pixel centres at +0.5 (nothing is done if it is there already)."""
    if tuple(volume.shape[2:]) == grid:
        return volume
    return F.interpolate(volume, grid, mode="trilinear", align_corners=False)
