"""Moving slices that are folded into the batch: neighbours, sums of neighbours, runs.

Beyond the first and the last slice the volume goes on as it ended (replicate). Everything is written for channels-last
memory, where the slices, the volume and a stack of neighbouring slices on the channel axis are plain reshapes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import by_depth, set_depth


def shifted(slices: Float[Tensor, "b d *rest"], offset: int) -> Float[Tensor, "b d *rest"]:
    """Entry i holds slice i + offset; the first and last slice are repeated beyond the ends."""
    if offset == 0:
        return slices
    depth = slices.shape[1]
    offset = max(-depth, min(depth, offset))
    if offset > 0:
        return torch.cat([slices[:, offset:], slices[:, -1:].expand(-1, offset, *slices.shape[2:])], 1)
    return torch.cat([slices[:, :1].expand(-1, -offset, *slices.shape[2:]), slices[:, :offset]], 1)


def reach(k: int) -> range:
    """Offsets of the slices a kernel of k slices sees; an even kernel sees one more behind than before."""
    return range(-((k - 1) // 2), k // 2 + 1)


def moved_sum(answers: Sequence[Float[Tensor, " n *rest"]]) -> Float[Tensor, " n *rest"]:
    """Add what each tap of a kernel answered, moved to the slices that saw it."""
    k = len(answers)
    moved = [shifted(by_depth(answer), offset) for offset, answer in zip(reach(k), answers, strict=True)]
    return sum(moved[1:], start=moved[0]).flatten(0, 2)


def tap_after_tap(kernel: Float[Tensor, "o i k kh kw"]) -> Float[Tensor, "o i k kh kw"]:
    """The same kernel, its taps one after the other in memory, each of them channels-last."""
    return kernel.permute(2, 0, 3, 4, 1).contiguous().permute(1, 4, 0, 2, 3)


def tubelets_of(x: Float[Tensor, " n *rest"], k: int) -> Float[Tensor, "n2 k *rest"]:
    """Cut depth into runs of k slices and tell the forward that volumes are shallower from here on."""
    view = by_depth(x)
    batch, depth, extra = view.shape[:3]
    missing = -depth % k
    if missing:
        view = torch.cat([view, view[:, -1:].expand(-1, missing, *view.shape[2:])], 1)
    runs = (depth + missing) // k
    set_depth(runs)
    return view.reshape(batch, runs, k, extra, *x.shape[1:]).transpose(2, 3).flatten(0, 2)


def same_padding(
    x: Float[Tensor, "n c h w"], kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Float[Tensor, "n c h2 w2"]:
    """TensorFlow's 'same': as many zeros as the size at hand needs, the odd one behind."""
    sides: list[int] = []
    for axis in (1, 0):  # F.pad counts from the last axis
        size = x.shape[2 + axis]
        window = (kernel_size[axis] - 1) * dilation[axis] + 1
        need = max((-(-size // stride[axis]) - 1) * stride[axis] + window - size, 0)
        sides += [need // 2, need - need // 2]
    return F.pad(x, sides) if any(sides) else x
