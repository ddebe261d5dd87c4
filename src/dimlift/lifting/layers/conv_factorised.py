"""Each channel's own weighted sum over neighbouring slices: the depth half of a factorised kernel."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import by_depth
from dimlift.lifting.layers.depth_shift import moved_sum, tubelets_of

ONEDNN = torch.backends.mkldnn.is_available()
"""Without it a depthwise convolution on a CPU is slower than sums by far; it knows no float64."""


def mix(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """Mix by the fastest known route, depth kept, ends replicated."""
    if ONEDNN and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        return mix_in_one_pass(x, profile)
    return mix_by_taps(x, profile)


def mix_by_taps(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """The definition: weigh the slices once for every tap, and move them to where they are seen."""
    channels_last = x.permute(0, 2, 3, 1)
    return moved_sum([channels_last * tap for tap in profile.unbind(1)]).permute(0, 3, 1, 2)


def mix_in_one_pass(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """A depthwise convolution of k x 1 on images whose height is depth and whose width is a whole slice.

    Of channels-last memory these images are views. It reads all its slices in one pass, where `mix_by_taps` needs a
    pass for every tap and more for the sums.
    """
    k = profile.shape[1]
    view = by_depth(x.permute(0, 2, 3, 1))  # (B, D, extra, H, W, C)
    images = F.pad(view.flatten(2, 4).permute(0, 3, 1, 2), (0, 0, (k - 1) // 2, k // 2), mode="replicate")
    mixed = F.conv2d(images, profile[:, None, :, None], groups=len(profile))
    return mixed.permute(0, 2, 3, 1).reshape(x.shape[0], *view.shape[3:]).permute(0, 3, 1, 2)


def mix_tubelets(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n2 c h w"]:
    """Each channel's weighted sum over runs of k slices, the last slice repeated to fill the last run."""
    runs = tubelets_of(x, profile.shape[1])  # (N2, k, C, H, W)
    return torch.einsum("nkchw,ck->nchw", runs, profile)
