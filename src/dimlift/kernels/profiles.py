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


PROFILES: dict[str, Profile] = {"average": average, "centre": centre, "gaussian": gaussian}


def shares_of(profile: str | Profile, k: int) -> Float[Tensor, " k"]:
    """The k shares of a profile, checked.

    Raises:
        UnknownName: for a name that is no profile.
        PlanError: if a profile of the caller's own does not give k numbers that sum to one.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise UnknownName("profile", profile, PROFILES)
        return PROFILES[profile](k)
    shares = torch.as_tensor(profile(k), dtype=torch.float64).detach().cpu()
    if shares.shape != (k,):
        raise PlanError(f"the profile gave shape {tuple(shares.shape)} for {k} slices; it must give {k} numbers")
    if not torch.isclose(shares.sum(), shares.new_ones(()), atol=1e-6):
        raise PlanError(f"the profile's {k} shares sum to {shares.sum():.6f}; divide them by their sum")
    return shares
