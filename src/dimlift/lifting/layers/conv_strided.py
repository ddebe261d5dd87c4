"""3D convolution of folded slices with a stride along depth, or with zeros beyond the ends of the volume."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import current_fold, split_depth, stride_depth
from dimlift.lifting.layers.conv_kernels import ConvArgs, Kernel, Maps, Slices, conv2d_per_slice
from dimlift.lifting.layers.depth_shift import depth_windows


class DepthArgs(NamedTuple):
    """Stride along depth, and whether zeros are read beyond the ends instead of the first and last slice."""

    step: int = 1
    zeros: bool = False


def conv_strided(x: Slices, kernel: Kernel, conv_args: ConvArgs, depth_args: DepthArgs) -> Maps:
    """Convolve; depth shrinks to ceil(D / step). Output i is centred at slice i * step, as Conv3d with padding k // 2.

    A device other than a CPU uses conv3d. On a CPU the slices of a window are concatenated along channels, or, in
    grouped convolutions, convolved tap by tap.
    """
    k = kernel.shape[2]
    step, zeros = depth_args
    if x.device.type not in ("cpu", "meta"):
        return _conv3d(x, kernel, conv_args, depth_args)
    if conv_args.groups > 1:
        taps = depth_windows(x, k, step, before=(k - 1) // 2, zeros=zeros)
        outputs = [conv2d_per_slice(tap, w, conv_args) for tap, w in zip(taps, kernel.unbind(2), strict=True)]
        return sum(outputs[1:], start=outputs[0])
    taps = depth_windows(x.permute(0, 2, 3, 1), k, step, before=(k - 1) // 2, zeros=zeros)
    stack = torch.cat(taps, -1).permute(0, 3, 1, 2)
    return conv2d_per_slice(stack, kernel.transpose(1, 2).flatten(1, 2), conv_args)


def mix_strided(x: Slices, profile: Float[Tensor, "o k"], depth_args: DepthArgs) -> Maps:
    """Return each channel's weighted sum over the slices of a window: the depth part of a factorised kernel."""
    k = profile.shape[1]
    taps = depth_windows(x, k, depth_args.step, before=(k - 1) // 2, zeros=depth_args.zeros)
    weighted = [tap * w[:, None, None] for tap, w in zip(taps, profile.unbind(1), strict=True)]
    return sum(weighted[1:], start=weighted[0])


def _conv3d(x: Slices, kernel: Kernel, conv_args: ConvArgs, depth_args: DepthArgs) -> Maps:
    k = kernel.shape[2]
    step, zeros = depth_args
    view = split_depth(x).transpose(1, 2)  # (B, extra, D, I, H, W)
    volumes = view.flatten(0, 1).transpose(1, 2)
    if k > 1:
        sides = (0, 0, 0, 0, (k - 1) // 2, k // 2)
        volumes = F.pad(volumes, sides) if zeros else F.pad(volumes, sides, mode="replicate")
    stride, padding, dilation, groups = conv_args
    out = F.conv3d(volumes, kernel, None, (step, *stride), (0, *padding), (1, *dilation), groups)
    if step > 1:
        stride_depth(out.shape[2])
    by_slice = out.transpose(1, 2).unflatten(0, (current_fold().batch, -1))  # (B, extra, D2, O, H2, W2)
    return by_slice.transpose(1, 2).flatten(0, 2)
