"""3D U-Nets of MONAI: the residual U-Net and the network of nnU-Net.

- Residual U-Net: Kerfoot et al., 2018, https://doi.org/10.1007/978-3-030-12029-0_40
- nnU-Net, its network and rules for strides and kernels: Isensee et al., 2021, https://arxiv.org/abs/1809.10486
"""

import math
from collections.abc import Sequence

from monai.networks.nets import DynUNet, UNet

from dimlift.models.pad_to_multiple import Grid, PadToMultiple


def plain_unet(
    in_channels: int,
    num_classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    residual_units: int = 0,
    strides: Sequence[Grid] | None = None,
    dropout: float = 0.0,
) -> PadToMultiple:
    """Return MONAI's U-Net with random weights, for volumes of any size.

    Args:
        in_channels: channels of a volume, extra feature channels included.
        num_classes: channels of the logits.
        widths: channels of the levels, finest first.
        residual_units: convolutions per residual block; 0 for plain convolutions, with steps twice as fast.
        strides: (z, y, x) stride between levels, one fewer than `widths`; 2 everywhere if None.
        dropout: dropout rate inside the blocks.
    """
    steps: list[Grid] = [(2, 2, 2)] * (len(widths) - 1) if strides is None else [tuple(step) for step in strides]
    network = UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        channels=tuple(widths),
        strides=steps,  # type: ignore[arg-type]  # MONAI accepts a stride per axis, which its annotation lacks
        num_res_units=residual_units,
        dropout=dropout,
    )
    return PadToMultiple(network, _total_stride(steps))


def nnunet_unet(
    in_channels: int,
    num_classes: int,
    *,
    patch_size: Grid,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
) -> PadToMultiple:
    """Return the network of nnU-Net (MONAI's DynUNet), with depth and kernels by nnU-Net's rules.

    An axis is halved while its spacing is at most twice the finest one and at least 4 voxels remain. Kernels do not
    extend through slices until the spacings are within that factor of each other.

    Args:
        in_channels: channels of a volume.
        num_classes: channels of the logits.
        patch_size: (depth, height, width) voxels of a training patch.
        spacing: (z, y, x) millimetres between voxels.
        widths: channels of the levels, finest first; the patch size limits how many are used.
    """
    strides, kernels = level_geometry(patch_size, spacing, len(widths))
    network = DynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        kernel_size=kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=tuple(widths)[: len(strides)],
    )
    return PadToMultiple(network, _total_stride(strides))


def level_geometry(
    patch_size: Grid, spacing: tuple[float, float, float], max_levels: int
) -> tuple[list[Grid], list[Grid]]:
    """Return the strides and kernels of at most `max_levels` levels, and at least 3; the first stride is 1."""
    size, step = list(patch_size), list(spacing)
    strides: list[Grid] = [(1, 1, 1)]
    kernels: list[Grid] = [_kernel(step)]
    while len(strides) < max(max_levels, 3):
        is_fine = [s <= 2 * min(step) for s in step]
        halve = [fine and n >= 8 for fine, n in zip(is_fine, size, strict=True)]
        if not any(halve) and len(strides) >= 3:
            break
        stride = tuple(2 if h else 1 for h in halve)
        size = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        step = [gap * s for gap, s in zip(step, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(step))
    return strides, kernels


def strides_by_spacing(patch_size: Grid, spacing: tuple[float, float, float], num_levels: int) -> list[Grid]:
    """Return the strides between `num_levels` levels by nnU-Net's rule; 1 where the patch is too small for another."""
    strides = level_geometry(patch_size, spacing, num_levels)[0][1:num_levels]
    return [*strides, *[(1, 1, 1)] * (num_levels - 1 - len(strides))]


def _kernel(spacing: Sequence[float]) -> Grid:
    return tuple(3 if s <= 2 * min(spacing) else 1 for s in spacing)


def _total_stride(strides: Sequence[Grid]) -> Grid:
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))
