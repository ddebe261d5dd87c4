"""Inflation of a 2D kernel: lay a depth profile along each of the axes, and average over the axes."""

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import PlanError, UnknownNameError
from dimlift.inflation.oriented import inflate_by_name
from dimlift.inflation.profiles import KERNEL_INFLATIONS, Profile, profile_weights


def inflate_kernel(
    kernel: Float[Tensor, "out in h w"], k: int, profile: str | Profile = "centre", axes: tuple[str, ...] = ("depth",)
) -> Float[Tensor, "out in k h w"]:
    """Inflate a 2D kernel to k slices.

    With axes=("depth",) every slice is the 2D kernel times its weight, so the sum over depth is the 2D kernel. More
    axes (2G: depth and width; 3G: all three; Kienzle et al. 2022) also rotate the plane of the 2D kernel: along width
    it spans (height, depth), along height it spans (depth, width) with the width as its first axis, as published. The
    sum of the whole kernel is unchanged.

    Args:
        kernel: the 2D kernel.
        k: depth of the result.
        profile: a name or a function of k; "acs", "soft_acs" and "random" are not profiles, see
            `dimlift.inflation.oriented`.
        axes: axes to lay the profile along.

    Raises:
        PlanError: if several axes, or an oriented inflation, are requested for a kernel that would not be cubic.
        UnknownNameError: for an axis that does not exist.
    """
    if isinstance(profile, str) and profile in KERNEL_INFLATIONS:
        if axes != ("depth",):
            raise PlanError(f"{profile} sets the axes of kernels itself, got axes {axes}; use axes=('depth',)")
        return inflate_by_name(kernel, k, profile)
    weights = torch.tensor(profile_weights(profile, k), dtype=torch.float64).to(kernel)
    if not axes:
        raise PlanError("axes is empty; name at least 'depth'")
    _, _, height, width = kernel.shape
    if axes != ("depth",) and not k == height == width:
        raise PlanError(
            f"axes {axes} need a cubic kernel, got depth={k}, height={height}, width={width}; use axes=('depth',)"
        )
    equations = {"depth": "oihw,d->oidhw", "width": "oihd,w->oidhw", "height": "oiwd,h->oidhw"}
    for axis in axes:
        if axis not in equations:
            raise UnknownNameError("axis", axis, equations)
    inflated = [torch.einsum(equations[axis], kernel, weights) for axis in axes]
    return inflated[0] if axes == ("depth",) else torch.stack(inflated).mean(0)
