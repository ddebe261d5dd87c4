"""The 3D U-Nets a user would otherwise pick, both from MONAI.

- Residual U-Net: Kerfoot et al., 2018, https://doi.org/10.1007/978-3-030-12029-0_40
- nnU-Net's network and its rules for strides and kernels: Isensee et al., 2021, https://arxiv.org/abs/1809.10486
"""

import math
from collections.abc import Sequence

from monai.networks.nets import DynUNet, UNet

from dimlift.models.pad_to_multiple import AnySize, Grid


def plain_unet(
    in_channels: int,
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    residual_units: int = 0,
    strides: Sequence[Grid] | None = None,
    dropout: float = 0.0,
) -> AnySize:
    """MONAI's U-Net with random weights, for volumes of any size.

    Args:
        in_channels: channels of a volume, borrowed features included.
        classes: channels of the answer.
        widths: channels of the levels, finest first.
        residual_units: convolutions in each residual block; 0 for plain convolutions, twice as fast a step.
        strides: (z, y, x) step between levels, one fewer than `widths`; 2 everywhere if None.
        dropout: share of channels dropped inside the blocks.
    """
    steps: list[Grid] = [(2, 2, 2)] * (len(widths) - 1) if strides is None else [tuple(step) for step in strides]
    network = UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=classes,
        channels=tuple(widths),
        strides=steps,  # type: ignore[arg-type]  # MONAI takes a step for each axis, its annotation does not say so
        num_res_units=residual_units,
        dropout=dropout,
    )
    return AnySize(network, _product(steps))


def nnunet_unet(
    in_channels: int,
    classes: int,
    *,
    patch_size: Grid,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
) -> AnySize:
    """nnU-Net's own network (MONAI's DynUNet), its depth and kernels chosen from patch and spacing.

    An axis is halved while its spacing is within twice the finest one and at least 4 voxels remain; kernels stay flat
    through the slices until the spacings have come within that factor of each other.

    Args:
        in_channels: channels of a volume.
        classes: channels of the answer.
        patch_size: (depth, height, width) voxels of a training patch.
        spacing: (z, y, x) millimetres between voxels.
        widths: channels of the levels, finest first; as many are used as the patch allows.
    """
    strides, kernels = level_geometry(patch_size, spacing, len(widths))
    network = DynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=classes,
        kernel_size=kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=tuple(widths)[: len(strides)],
    )
    return AnySize(network, _product(strides))


def level_geometry(patch_size: Grid, spacing: tuple[float, float, float], most: int) -> tuple[list[Grid], list[Grid]]:
    """Strides and kernels of at most `most` levels (and at least 3), the first of stride 1."""
    size, step = list(patch_size), list(spacing)
    strides: list[Grid] = [(1, 1, 1)]
    kernels: list[Grid] = [_kernel(step)]
    while len(strides) < max(most, 3):
        near = [s <= 2 * min(step) for s in step]
        halve = [close and n >= 8 for close, n in zip(near, size, strict=True)]
        if not any(halve) and len(strides) >= 3:
            break
        stride = tuple(2 if h else 1 for h in halve)
        size = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        step = [gap * s for gap, s in zip(step, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(step))
    return strides, kernels


def _kernel(spacing: Sequence[float]) -> Grid:
    return tuple(3 if s <= 2 * min(spacing) else 1 for s in spacing)


def _product(strides: Sequence[Grid]) -> Grid:
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))
