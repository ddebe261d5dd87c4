"""The depth part of a factorised kernel: a weighted sum of neighbouring slices for each channel."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import split_depth
from dimlift.lifting.layers.depth_shift import sum_shifted, to_tubelets

ONEDNN = torch.backends.mkldnn.is_available()
"""Without oneDNN a depthwise convolution on a CPU is far slower than sums; oneDNN does not support float64."""


def mix_depth(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """Mix along depth by the fastest known algorithm, with replicate padding."""
    if ONEDNN and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        return mix_depthwise(x, profile)
    return mix_per_tap(x, profile)


def mix_per_tap(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """Reference implementation: weight the slices for each tap, and add them, shifted along depth."""
    channels_last = x.permute(0, 2, 3, 1)
    return sum_shifted([channels_last * tap for tap in profile.unbind(1)]).permute(0, 3, 1, 2)


def mix_depthwise(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n c h w"]:
    """Mix by a depthwise k x 1 convolution of images whose height is depth and whose width is a flattened slice.

    In channels-last memory these images are views. The convolution reads every slice once, `mix_per_tap` once for each
    tap and again for the sums.
    """
    k = profile.shape[1]
    view = split_depth(x.permute(0, 2, 3, 1))  # (B, D, extra, H, W, C)
    images = F.pad(view.flatten(2, 4).permute(0, 3, 1, 2), (0, 0, (k - 1) // 2, k // 2), mode="replicate")
    mixed = F.conv2d(images, profile[:, None, :, None], groups=len(profile))
    return mixed.permute(0, 2, 3, 1).reshape(x.shape[0], *view.shape[3:]).permute(0, 3, 1, 2)


def mix_tubelets(x: Float[Tensor, "n c h w"], profile: Float[Tensor, "c k"]) -> Float[Tensor, "n2 c h w"]:
    """Return each channel's weighted sum over tubelets of k slices; the last slice is repeated to fill a tubelet."""
    tubelets = to_tubelets(x, profile.shape[1])  # (N2, k, C, H, W)
    return torch.einsum("nkchw,ck->nchw", tubelets, profile)
