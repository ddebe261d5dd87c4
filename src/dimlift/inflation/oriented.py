"""Inflations that are no depth profile: kernels turned to other planes, and depth left to chance."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import PlanError
from dimlift.inflation.profiles import centre


def acs(kernel: Float[Tensor, "out in k k"], k: int) -> Float[Tensor, "out in k k k"]:
    """Axial, coronal, sagittal (ACSConv, Yang et al. 2021): a third of the output channels for each orientation.

    The first third keeps its 2D kernel in (height, width), the second lies in (depth, width), the last in (depth,
    height). What is left over by three goes to the first ones. There the kernels stay 2D; here they start so, and the
    other taps, zero at first, may learn.
    """
    out = len(kernel)
    sizes = [out // 3 + (index < out % 3) for index in range(3)]
    parts = kernel.split(sizes)
    return torch.cat([turn(part, k) for turn, part in zip(_ORIENTATIONS, parts, strict=True)])


def soft_acs(kernel: Float[Tensor, "out in k k"], k: int) -> Float[Tensor, "out in k k k"]:
    """The mean of the three orientations of `acs`, in every output channel (SoftACSConv with equal weights)."""
    return torch.stack([turn(kernel, k) for turn in _ORIENTATIONS]).mean(0)


def random_depth(kernel: Float[Tensor, "out in h w"], k: int) -> Float[Tensor, "out in k h w"]:
    """The 2D kernel times random numbers over depth, one set for each output channel: a control."""
    return kernel[:, :, None] * random_shares(len(kernel), k).to(kernel)[:, None, :, None, None]


def random_shares(channels: int, k: int) -> Float[Tensor, "channels k"]:
    """From N(0, 1/k), by torch's own generator: unrelated slices together are answered as strongly as one in 2D."""
    return torch.randn(channels, k, dtype=torch.float64) / k**0.5


def is_cubic(kernel: Float[Tensor, "out in h w"], k: int) -> bool:
    """Whether the kernel would be as deep as it is high and wide, which turning it takes."""
    return tuple(kernel.shape[2:]) == (k, k)


def _in_depth(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oihw,d->oidhw", kernel, centre(k).to(kernel))


def _in_height(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oidw,h->oidhw", kernel, centre(k).to(kernel))


def _in_width(kernel: Tensor, k: int) -> Tensor:
    return torch.einsum("oidh,w->oidhw", kernel, centre(k).to(kernel))


_ORIENTATIONS: tuple[Callable[[Tensor, int], Tensor], ...] = (_in_depth, _in_height, _in_width)

INFLATIONS: dict[str, Callable[[Tensor, int], Tensor]] = {"acs": acs, "soft_acs": soft_acs, "random": random_depth}
"""By name, beside the profiles. None keeps the answer to a volume of one slice repeated."""

TURNED = ("acs", "soft_acs")
"""Those that need cubes."""


def inflate_by_name(kernel: Float[Tensor, "out in h w"], k: int, name: str) -> Float[Tensor, "out in k h w"]:
    """One of `INFLATIONS`.

    Raises:
        PlanError: if the kernel would be no cube and has to be turned.
    """
    if name in TURNED and not is_cubic(kernel, k):
        raise PlanError(
            f"{name} turns kernels and needs cubes, got depth={k}, height={kernel.shape[2]}, width={kernel.shape[3]}; "
            "use kernel='cubic', or profile='centre' for this layer"
        )
    return INFLATIONS[name](kernel, k)
