"""Depth profiles: how a 2D kernel's weight is shared out over the slices it will look at. Each sums to one."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import PlanError, UnknownName

Profile = Callable[[int], Float[Tensor, " k"]]


def average(k: int) -> Float[Tensor, " k"]:
    """Equal shares: k slices answer together (I3D, Carreira & Zisserman 2017)."""
    return torch.full((k,), 1 / k, dtype=torch.float64)


def centre(k: int) -> Float[Tensor, " k"]:
    """Everything in the middle slice. An even k has two middle slices, and each takes half."""
    shares = torch.zeros(k, dtype=torch.float64)
    middle = slice((k - 1) // 2, k // 2 + 1)
    shares[middle] = 1 / (1 + (k + 1) % 2)
    return shares


def gaussian(k: int, sigma: float | None = None) -> Float[Tensor, " k"]:
    """A bell around the middle, mu = (k - 1) / 2, normalised once.

    Args:
        k: number of slices.
        sigma: width in slices; (k - 1) / 8 if not given, which is .75 at k = 7 as in Kienzle et al. (2022).

    Raises:
        PlanError: if sigma is not positive.
    """
    if sigma is None:
        sigma = (k - 1) / 8
        if k == 1:
            return torch.ones(1, dtype=torch.float64)
    if sigma <= 0:
        raise PlanError(f"a Gaussian profile needs sigma > 0, got {sigma}; profile='centre' is its limit at zero")
    offsets = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
    # softmax of the exponents is the normalised bell, and does not underflow to 0 / 0 for a narrow one
    return torch.softmax(-(offsets**2) / (2 * sigma**2), dim=0)


def box3(k: int) -> Float[Tensor, " k"]:
    """A box three slices wide around the middle (`one_m` of Kienzle et al. 2022): thirds for an odd k.

    An even k has its middle between two slices, and the box covers half of each outer one.
    """
    offsets = (torch.arange(k, dtype=torch.float64) - (k - 1) / 2).abs()
    covered = (2 - offsets).clamp(0, 1)
    return covered / covered.sum()


def kienzle_1g_as_published(k: int) -> Float[Tensor, " k"]:
    """What the published code of Kienzle et al. (2022) makes of its 1G kernel, to repeat their numbers.

    Its bell sits at k // 2 with a quarter of that for a width, and is normalised anew after each slice is written, so
    that earlier slices shrink again and again: neither a bell nor symmetric. Below three slices it is slice k // 2.
    `gaussian` is what was meant.
    """
    middle = k // 2
    if k < 3:
        return torch.eye(k, dtype=torch.float64)[middle]
    bell = torch.exp(-((torch.arange(k, dtype=torch.float64) - middle) ** 2) / (2 * (middle / 4) ** 2))
    shares = torch.zeros(k, dtype=torch.float64)
    for i in range(k):
        shares[i] = bell[i]
        shares /= shares.sum()
    return shares


PROFILES: dict[str, Profile] = {
    "average": average,
    "centre": centre,
    "gaussian": gaussian,
    "box3": box3,
    "kienzle_1g_as_published": kienzle_1g_as_published,
}


def named_profile(name: str) -> Profile | None:
    """The profile of a name; "gaussian:0.75" is a Gaussian of that sigma, in slices. None for other names.

    Raises:
        PlanError: if the sigma is no number above zero.
    """
    if name in PROFILES:
        return PROFILES[name]
    kind, colon, given = name.partition(":")
    if kind != "gaussian" or not colon:
        return None
    try:
        sigma = float(given)
    except ValueError:
        raise PlanError(f"profile {name!r} has no number for its sigma; write for example 'gaussian:0.75'") from None
    if not 0 < sigma < float("inf"):
        raise PlanError(f"a Gaussian profile needs sigma > 0, got {name!r}; profile='centre' is its limit at zero")
    return lambda k: gaussian(k, sigma)


def shares_of(profile: str | Profile, k: int) -> Float[Tensor, " k"]:
    """The k shares of a profile, checked.

    Raises:
        UnknownName: for a name that is no profile.
        PlanError: if a profile of the caller's own does not give k numbers that sum to one.
    """
    if isinstance(profile, str):
        named = named_profile(profile)
        if named is None:
            raise UnknownName("profile", profile, [*PROFILES, "gaussian:SIGMA"])
        return named(k)
    shares = torch.as_tensor(profile(k), dtype=torch.float64).detach().cpu()
    if shares.shape != (k,):
        raise PlanError(f"the profile gave shape {tuple(shares.shape)} for {k} slices; it must give {k} numbers")
    if not torch.isclose(shares.sum(), shares.new_ones(()), atol=1e-6):
        raise PlanError(f"the profile's {k} shares sum to {shares.sum():.6f}; divide them by their sum")
    return shares
