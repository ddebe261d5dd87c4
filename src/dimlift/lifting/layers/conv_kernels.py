"""A full 3D kernel on slices folded into the batch: one definition, and faster routes to the same answer on a CPU.

Depth is kept; beyond the first and the last slice the volume goes on as it ended (replicate).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import by_depth, current_fold
from dimlift.lifting.layers.conv_matmul import product
from dimlift.lifting.layers.conv_winograd import convolve_in_pairs
from dimlift.lifting.layers.depth_shift import moved_sum, reach, shifted, tubelets_of


class Slide(NamedTuple):
    """How a kernel moves over a slice: the arguments of conv2d beside tensors, (height, width) each."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


Slices = Float[Tensor, "n i h w"]
Kernel = Float[Tensor, "o i k kh kw"]
Answers = Float[Tensor, "n o h2 w2"]


def convolve_full(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """A full 3D kernel by the fastest known route.

    Anything but a CPU takes conv3d. On a CPU, depthwise kernels convolve tap by tap. Of the others, a layer with fewer
    pixels than channels spends its time moving weights: one matrix product leaves them where they are. Otherwise
    Winograd's pairs of slices save a third of the arithmetic, where k is 3 and the precision can bear it.
    """
    if x.device.type != "cpu":
        return convolve_volumes(x, kernel, slide)
    k = kernel.shape[2]
    if slide.groups == 1 and slide.dilation == (1, 1) and _pixels(x, slide) < len(kernel):
        return convolve_by_products(x, kernel, slide)
    if k == 1 or current_fold().depth == 1:  # every tap sees the one slice there is
        return convolve_slices(x, kernel.sum(2), slide)
    if slide.groups > 1:
        return convolve_by_taps(x, kernel, slide)
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    if k == 3 and exact and not torch.compiler.is_compiling():
        return convolve_in_pairs(x, kernel, slide)
    return convolve_stacked(x, kernel, slide)


def convolve_volumes(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """The definition: conv3d on volumes whose first and last slice are repeated."""
    k = kernel.shape[2]
    view = by_depth(x).transpose(1, 2)  # (B, extra, D, I, H, W)
    volumes = view.flatten(0, 1).transpose(1, 2)
    if k > 1:
        volumes = F.pad(volumes, (0, 0, 0, 0, (k - 1) // 2, k // 2), mode="replicate")
    stride, padding, dilation, groups = slide
    out = F.conv3d(volumes, kernel, None, (1, *stride), (0, *padding), (1, *dilation), groups)
    return out.transpose(1, 2).reshape(*view.shape[:3], *out.shape[1:2], *out.shape[3:]).transpose(1, 2).flatten(0, 2)


def convolve_slices(x: Slices, kernel: Float[Tensor, "o i kh kw"], slide: Slide) -> Answers:
    """A 2D convolution of every slice, in float32 where a CPU's depthwise kernels in less would be slower."""
    if slide.groups > 1 and x.device.type == "cpu":
        lower = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if lower.itemsize < 4:
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), kernel.float(), None, *slide).to(lower)
    return F.conv2d(x, kernel, None, *slide)


def convolve_stacked(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """Neighbouring slices side by side as channels, convolved once."""
    view = by_depth(x.permute(0, 2, 3, 1))
    stack = torch.cat([shifted(view, offset) for offset in reach(kernel.shape[2])], -1).flatten(0, 2)
    return convolve_slices(stack.permute(0, 3, 1, 2), kernel.transpose(1, 2).flatten(1, 2), slide)


def convolve_by_taps(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """Each tap convolves every slice by itself, and the answers move to the slices they belong to."""
    answers = [convolve_slices(x, tap, slide).permute(0, 2, 3, 1) for tap in kernel.unbind(2)]
    return moved_sum(answers).permute(0, 3, 1, 2)


def convolve_by_products(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """Windows as rows, times all taps in one matrix product; then the answers move. No groups, no dilation.

    Kernels lie tap after tap and channels-last in memory, so that the matrix is the kernel as it stands.
    """
    (up, left), (down, right), (high, wide) = slide.padding, slide.stride, kernel.shape[-2:]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, up, up))
    windows = padded.unfold(1, high, down).unfold(2, wide, right).permute(0, 1, 2, 4, 5, 3).flatten(3)
    answers = product(windows, kernel.permute(2, 0, 3, 4, 1).flatten(2).flatten(0, 1))
    return moved_sum(answers.chunk(kernel.shape[2], -1)).permute(0, 3, 1, 2)


def convolve_tubelets(x: Slices, kernel: Kernel, slide: Slide) -> Answers:
    """Kernel and stride alike k slices: depth shrinks to ceil(D / k), the last slice repeated to fill the last one."""
    tubelets = tubelets_of(x.permute(0, 2, 3, 1), kernel.shape[2])  # (N2, k, H, W, C)
    by_group = tubelets.unflatten(-1, (slide.groups, -1)).permute(0, 2, 3, 4, 1, 5)  # (N2, H, W, G, k, C / G)
    stack = by_group.flatten(3).permute(0, 3, 1, 2)
    return convolve_slices(stack, kernel.transpose(1, 2).flatten(1, 2), slide)


def _pixels(x: Slices, slide: Slide) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3] // (slide.stride[0] * slide.stride[1])
