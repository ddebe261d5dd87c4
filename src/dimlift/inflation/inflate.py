"""Give a 2D kernel a depth axis. One formula: lay the profile along each named axis, and average over the axes."""

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import PlanError, UnknownName
from dimlift.inflation.oriented import INFLATIONS, inflate_by_name
from dimlift.inflation.profiles import Profile, shares_of

AXES = ("depth", "width", "height")


def inflate(
    kernel: Float[Tensor, "out in h w"], k: int, profile: str | Profile = "centre", axes: tuple[str, ...] = ("depth",)
) -> Float[Tensor, "out in k h w"]:
    """Inflate a 2D kernel to k slices.

    With axes=("depth",) every slice is the 2D kernel times its share, so the sum over depth is the 2D kernel again.
    With more axes (2G: depth and width; 3G: all three; Kienzle et al. 2022) the plane in which the 2D kernel lies is
    turned as well: along width it spans (height, depth), along height it spans (depth, width) with the width as its
    first axis, as published. The sum of the whole kernel stays what it was.

    "acs", "soft_acs" and "random" are no profiles: see `dimlift.inflation.oriented`.

    Raises:
        PlanError: if several axes, or a turned inflation, are asked of a kernel that would not be a cube.
        UnknownName: for an axis that does not exist.
    """
    if isinstance(profile, str) and profile in INFLATIONS:
        if axes != ("depth",):
            raise PlanError(f"{profile} says by itself where kernels lie, got axes {axes}; use axes=('depth',)")
        return inflate_by_name(kernel, k, profile)
    shares = shares_of(profile, k).to(kernel)
    if not axes:
        raise PlanError("axes is empty; name at least 'depth'")
    _, _, height, width = kernel.shape
    if axes != ("depth",) and not k == height == width:
        raise PlanError(
            f"axes {axes} need a cubic kernel, got depth={k}, height={height}, width={width}; use axes=('depth',)"
        )
    planes = {
        "depth": lambda: torch.einsum("oihw,d->oidhw", kernel, shares),
        "width": lambda: torch.einsum("oihd,w->oidhw", kernel, shares),
        "height": lambda: torch.einsum("oiwd,h->oidhw", kernel, shares),
    }
    for axis in axes:
        if axis not in planes:
            raise UnknownName("axis", axis, planes)
    if axes == ("depth",):
        return planes["depth"]()
    return torch.stack([planes[axis]() for axis in axes]).mean(0)
