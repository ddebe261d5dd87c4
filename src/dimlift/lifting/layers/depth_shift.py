"""Shift, add and group slices that are folded into the batch.

The first and the last slice are repeated beyond the ends (replicate padding). In channels-last memory the slices, the
volume and neighbouring slices concatenated along channels differ by reshapes only.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import set_depth, split_depth, stride_depth


def shift_slices(slices: Float[Tensor, "b d *rest"], offset: int) -> Float[Tensor, "b d *rest"]:
    """Return slice i + offset at position i; the first and last slice are repeated beyond the ends."""
    if offset == 0:
        return slices
    depth = slices.shape[1]
    offset = max(-depth, min(depth, offset))
    if offset > 0:
        return torch.cat([slices[:, offset:], slices[:, -1:].expand(-1, offset, *slices.shape[2:])], 1)
    return torch.cat([slices[:, :1].expand(-1, -offset, *slices.shape[2:]), slices[:, :offset]], 1)


def tap_offsets(k: int) -> range:
    """Return the offsets of the k slices a kernel covers; an even kernel covers one more after than before."""
    return range(-((k - 1) // 2), k // 2 + 1)


def sum_shifted(taps: Sequence[Float[Tensor, " n *rest"]]) -> Float[Tensor, " n *rest"]:
    """Add the outputs of a kernel's taps, each shifted to the slices it contributes to."""
    shifted = [shift_slices(split_depth(tap), i) for i, tap in zip(tap_offsets(len(taps)), taps, strict=True)]
    return sum(shifted[1:], start=shifted[0]).flatten(0, 2)


def depth_windows(
    x: Float[Tensor, " n *rest"], k: int, step: int = 1, *, before: int, zeros: bool = False
) -> list[Float[Tensor, " n2 *rest"]]:
    """Return the k slices of each window along depth, tap by tap, and update the current fold.

    Window i starts at slice i * step - before; there are ceil(D / step) of them, for odd k and before = k // 2 as many
    as Conv3d has with this padding. Beyond the ends the first and last slice are repeated, or zeros.
    """
    view = split_depth(x)
    depth = view.shape[1]
    windows = -(-depth // step)
    after = max(0, (windows - 1) * step + k - before - depth)
    first = view[:, :1].expand(-1, before, *view.shape[2:])
    last = view[:, -1:].expand(-1, after, *view.shape[2:])
    ends = [torch.zeros_like(first), torch.zeros_like(last)] if zeros else [first, last]
    padded = torch.cat([ends[0], view, ends[1]], 1) if before or after else view
    if step > 1:
        stride_depth(windows)
    return [padded[:, tap : tap + (windows - 1) * step + 1 : step].flatten(0, 2) for tap in range(k)]


def taps_channels_last(kernel: Float[Tensor, "o i k kh kw"]) -> Float[Tensor, "o i k kh kw"]:
    """Return the kernel in another memory layout: tap after tap, each channels-last."""
    return kernel.permute(2, 0, 3, 4, 1).contiguous().permute(1, 4, 0, 2, 3)


def to_tubelets(x: Float[Tensor, " n *rest"], k: int) -> Float[Tensor, "n2 k *rest"]:
    """Group slices into tubelets of k and update the current fold; the last slice is repeated to fill a tubelet."""
    view = split_depth(x)
    batch, depth, extra = view.shape[:3]
    missing = -depth % k
    if missing:
        view = torch.cat([view, view[:, -1:].expand(-1, missing, *view.shape[2:])], 1)
    tubelets = (depth + missing) // k
    set_depth(tubelets)
    return view.reshape(batch, tubelets, k, extra, *x.shape[1:]).transpose(2, 3).flatten(0, 2)


def same_padding(
    x: Float[Tensor, "n c h w"], kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Float[Tensor, "n c h2 w2"]:
    """Pad as TensorFlow's "same" does: as many zeros as the input size needs, an odd one at the end."""
    sides: list[int] = []
    for axis in (1, 0):  # F.pad counts from the last axis
        size = x.shape[2 + axis]
        window = (kernel_size[axis] - 1) * dilation[axis] + 1
        missing = max((-(-size // stride[axis]) - 1) * stride[axis] + window - size, 0)
        sides += [missing // 2, missing - missing // 2]
    return F.pad(x, sides) if any(sides) else x
