"""3D convolution of slices folded into the batch: a reference, and faster algorithms with the same result on a CPU.

Depth is preserved by replicate padding: the first and the last slice are repeated.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import current_fold, split_depth
from dimlift.lifting.layers.conv_matmul import fast_linear
from dimlift.lifting.layers.conv_winograd import conv_winograd_f23
from dimlift.lifting.layers.depth_shift import shift_slices, sum_shifted, tap_offsets, to_tubelets


class ConvArgs(NamedTuple):
    """The arguments of conv2d other than tensors; (height, width) each."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


Slices = Float[Tensor, "n i h w"]
Kernel = Float[Tensor, "o i k kh kw"]
Maps = Float[Tensor, "n o h2 w2"]


def conv_full(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Convolve with a 3D kernel by the fastest known algorithm.

    All devices but CPUs use conv3d. On a CPU, grouped kernels are applied tap by tap. A layer with fewer pixels than
    channels is limited by memory traffic of its weights: one matrix product reads them once. Otherwise Winograd's
    algorithm saves a third of the arithmetic, if k is 3 and the precision allows it.
    """
    if x.device.type != "cpu":
        return conv3d_reference(x, kernel, conv_args)
    k = kernel.shape[2]
    if conv_args.groups == 1 and conv_args.dilation == (1, 1) and _pixels(x, conv_args) < len(kernel):
        return conv_im2col(x, kernel, conv_args)
    if k == 1 or current_fold().depth == 1:  # every tap reads the same slice
        return conv2d_per_slice(x, kernel.sum(2), conv_args)
    if conv_args.groups > 1:
        return conv_per_tap(x, kernel, conv_args)
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    if k == 3 and exact and not torch.compiler.is_compiling():
        return conv_winograd_f23(x, kernel, conv_args)
    return conv_stacked(x, kernel, conv_args)


def conv3d_reference(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Reference implementation: conv3d on volumes whose first and last slice are repeated."""
    k = kernel.shape[2]
    view = split_depth(x).transpose(1, 2)  # (B, extra, D, I, H, W)
    volumes = view.flatten(0, 1).transpose(1, 2)
    if k > 1:
        volumes = F.pad(volumes, (0, 0, 0, 0, (k - 1) // 2, k // 2), mode="replicate")
    stride, padding, dilation, groups = conv_args
    out = F.conv3d(volumes, kernel, None, (1, *stride), (0, *padding), (1, *dilation), groups)
    return out.transpose(1, 2).reshape(*view.shape[:3], *out.shape[1:2], *out.shape[3:]).transpose(1, 2).flatten(0, 2)


def conv2d_per_slice(x: Slices, kernel: Float[Tensor, "o i kh kw"], conv_args: ConvArgs) -> Maps:
    """Convolve every slice in 2D, in float32 where lower precision is slower (grouped kernels on a CPU)."""
    if conv_args.groups > 1 and x.device.type == "cpu":
        lower = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if lower.itemsize < 4:
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), kernel.float(), None, *conv_args).to(lower)
    return F.conv2d(x, kernel, None, *conv_args)


def conv_stacked(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Concatenate neighbouring slices along channels and convolve once."""
    view = split_depth(x.permute(0, 2, 3, 1))
    stack = torch.cat([shift_slices(view, offset) for offset in tap_offsets(kernel.shape[2])], -1).flatten(0, 2)
    return conv2d_per_slice(stack.permute(0, 3, 1, 2), kernel.transpose(1, 2).flatten(1, 2), conv_args)


def conv_per_tap(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Convolve every slice with each tap, and add the outputs, shifted along depth."""
    outputs = [conv2d_per_slice(x, tap, conv_args).permute(0, 2, 3, 1) for tap in kernel.unbind(2)]
    return sum_shifted(outputs).permute(0, 3, 1, 2)


def conv_im2col(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Multiply windows as rows by all taps in one matrix product, and add the outputs, shifted along depth.

    Without groups and dilation. The kernel in the memory layout of `taps_channels_last` is the matrix, without a copy.
    """
    (pad_y, pad_x), (stride_y, stride_x) = conv_args.padding, conv_args.stride
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, pad_x, pad_x, pad_y, pad_y))
    windows = padded.unfold(1, kernel.shape[-2], stride_y).unfold(2, kernel.shape[-1], stride_x)
    windows = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
    outputs = fast_linear(windows, kernel.permute(2, 0, 3, 4, 1).flatten(2).flatten(0, 1))
    return sum_shifted(outputs.chunk(kernel.shape[2], -1)).permute(0, 3, 1, 2)


def conv_tubelets(x: Slices, kernel: Kernel, conv_args: ConvArgs) -> Maps:
    """Convolve with stride k along depth, which shrinks to ceil(D / k); the last slice is repeated to fill the rest."""
    tubelets = to_tubelets(x.permute(0, 2, 3, 1), kernel.shape[2])  # (N2, k, H, W, C)
    by_group = tubelets.unflatten(-1, (conv_args.groups, -1)).permute(0, 2, 3, 4, 1, 5)  # (N2, H, W, G, k, C / G)
    stack = by_group.flatten(3).permute(0, 3, 1, 2)
    return conv2d_per_slice(stack, kernel.transpose(1, 2).flatten(1, 2), conv_args)


def _pixels(x: Slices, conv_args: ConvArgs) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3] // (conv_args.stride[0] * conv_args.stride[1])
