"""Inflations that are not a depth profile: kernels rotated into other planes (ACS), and random depth."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import PlanError
from dimlift.inflation.profiles import ORIENTED, centre


def acs(kernel: Float[Tensor, "out in k k"], k: int) -> Float[Tensor, "out in k k k"]:
    """Axial, coronal, sagittal (ACSConv, Yang et al. 2021): one orientation for each third of the output channels.

    The first third keeps its 2D kernel in (height, width), the second lies in (depth, width), the last in (depth,
    height). If the channels are not divisible by three, the first orientations get one more. ACSConv keeps the kernels
    2D; here only their start is 2D: the other taps are zero and trainable.
    """
    out = len(kernel)
    sizes = [out // 3 + (index < out % 3) for index in range(3)]
    parts = kernel.split(sizes)
    return torch.cat([orient(part, k) for orient, part in zip(_ORIENTATIONS, parts, strict=True)])


def soft_acs(kernel: Float[Tensor, "out in k k"], k: int) -> Float[Tensor, "out in k k k"]:
    """Return the mean of the three orientations of `acs` in every output channel (SoftACSConv with equal weights)."""
    return torch.stack([orient(kernel, k) for orient in _ORIENTATIONS]).mean(0)


def random_depth(kernel: Float[Tensor, "out in h w"], k: int) -> Float[Tensor, "out in k h w"]:
    """Return the 2D kernel times random weights over depth, one set for each output channel: a control."""
    return kernel[:, :, None] * random_depth_weights(len(kernel), k).to(kernel)[:, None, :, None, None]


def random_depth_weights(channels: int, k: int) -> Float[Tensor, "channels k"]:
    """Sample from N(0, 1/k) with torch's global generator, which keeps the output variance for unrelated slices."""
    return torch.randn(channels, k, dtype=torch.float64) / k**0.5


def _along_depth(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oihw,d->oidhw", kernel, _centre(kernel, k))


def _along_height(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oidw,h->oidhw", kernel, _centre(kernel, k))


def _along_width(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oidh,w->oidhw", kernel, _centre(kernel, k))


def _centre(kernel: Tensor, k: int) -> Tensor:
    return torch.tensor(centre(k), dtype=torch.float64).to(kernel)


_ORIENTATIONS: tuple[Callable[[Tensor, int], Tensor], ...] = (_along_depth, _along_height, _along_width)

_FUNCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {"acs": acs, "soft_acs": soft_acs, "random": random_depth}
"""One function for each of `KERNEL_INFLATIONS`."""


def inflate_by_name(kernel: Float[Tensor, "out in h w"], k: int, name: str) -> Float[Tensor, "out in k h w"]:
    """Inflate a kernel with one of `KERNEL_INFLATIONS`.

    Raises:
        PlanError: if an oriented inflation is requested for a kernel that would not be cubic.
    """
    if name in ORIENTED and tuple(kernel.shape[2:]) != (k, k):
        raise PlanError(
            f"{name} rotates kernels, which must be cubic, got depth={k}, height={kernel.shape[2]}, "
            f"width={kernel.shape[3]}; use kernel='cubic', or inflation='centre' for this layer"
        )
    return _FUNCTIONS[name](kernel, k)
