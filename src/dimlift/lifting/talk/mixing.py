"""The arithmetic of a convolution whose kernel has a depth axis, on slices folded into the batch.

Beyond the first and the last slice the volume goes on as it ended (replicate). Everything is written for channels-last
memory, where the slices, the volume and a stack of neighbouring slices on the channel axis are plain reshapes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import by_depth, set_depth

Convolve = Callable[[Tensor, Tensor, int], Tensor]
"""(slices, kernel, groups) -> slices: the 2D convolution with the layer's stride, padding and dilation, no bias."""


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


def convolve_full(
    x: Float[Tensor, "n c h w"], kernel: Float[Tensor, "o i k kh kw"], groups: int, convolve: Convolve
) -> Float[Tensor, "n o h2 w2"]:
    """A full 3D kernel, depth kept, by 2D convolutions: on a CPU these beat conv3d by far.

    With more pixels than weights, neighbouring slices are stacked as channels and convolved once. With more weights
    than pixels, or channels in groups, each tap convolves on its own and the answers are moved: kernels lie tap after
    tap in memory, so that nothing of theirs is copied.
    """
    k = kernel.shape[2]
    if k == 1:
        return convolve(x, kernel[:, :, 0], groups)
    if groups == 1 and kernel.numel() < k * x.numel():
        view = by_depth(x.permute(0, 2, 3, 1))
        stack = torch.cat([shifted(view, offset) for offset in reach(k)], -1).flatten(0, 2)
        return convolve(stack.permute(0, 3, 1, 2), kernel.transpose(1, 2).flatten(1, 2), 1)
    answers = [convolve(x, tap, groups) for tap in kernel.unbind(2)]
    moved = [shifted(by_depth(a.permute(0, 2, 3, 1)), offset) for offset, a in zip(reach(k), answers, strict=True)]
    return sum(moved[1:], start=moved[0]).flatten(0, 2).permute(0, 3, 1, 2)


def convolve_tubelets(
    x: Float[Tensor, "n c h w"], kernel: Float[Tensor, "o i k kh kw"], groups: int, convolve: Convolve
) -> Float[Tensor, "n2 o h2 w2"]:
    """Kernel and stride alike k slices: depth shrinks to ceil(D / k), the last slice repeated to fill the last one."""
    k = kernel.shape[2]
    tubelets = tubelets_of(x.permute(0, 2, 3, 1), k)  # (N2, k, H, W, C)
    by_group = tubelets.unflatten(-1, (groups, -1)).permute(0, 2, 3, 4, 1, 5)  # (N2, H, W, G, k, C / G)
    stack = by_group.flatten(3).permute(0, 3, 1, 2)
    return convolve(stack, kernel.transpose(1, 2).flatten(1, 2), groups)


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


def mix(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """Each channel answers with its own weighted sum over neighbouring slices."""
    view = by_depth(x.permute(0, 2, 3, 1))
    parts = [
        shifted(view, offset) * tap for offset, tap in zip(reach(profile.shape[1]), profile.unbind(1), strict=True)
    ]
    return sum(parts[1:], start=parts[0]).flatten(0, 2).permute(0, 3, 1, 2)


def mix_tubelets(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n2 c h w"]:
    """Each channel's weighted sum over runs of k slices, the last slice repeated to fill the last run."""
    runs = tubelets_of(x, profile.shape[1])  # (N2, k, C, H, W)
    return torch.einsum("nkchw,ck->nchw", runs, profile)


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
