"""Depth profiles: the weights of a 2D kernel along depth. The k weights of a profile sum to one.

To add an inflation, write a function `(k) -> weights` and enter it in `PROFILES`. `DepthPlan`, configurations and the
command line accept its name from then on. Importing this module does not import torch.
"""

import math
from collections.abc import Callable, Sequence

from dimlift.errors import PlanError, UnknownNameError

Profile = Callable[[int], Sequence[float]]
"""k -> k weights that sum to one, as a list or a 1D tensor."""

AXES = ("depth", "width", "height")
"""Axes a profile may be laid along."""

ORIENTED = ("acs", "soft_acs")
"""Inflations that rotate kernels into other planes; they need cubic kernels (`dimlift.inflation.oriented`)."""

KERNEL_INFLATIONS = (*ORIENTED, "random")
"""Inflations that are not a depth profile. None of them keeps the output for a volume of one repeated slice."""


def average(k: int) -> list[float]:
    """Equal weights (I3D, Carreira & Zisserman 2017)."""
    return [1 / k] * k


def centre(k: int) -> list[float]:
    """All weight on the middle slice; half on each of the two middle slices of an even k."""
    first, last = (k - 1) // 2, k // 2
    return [1 / (last - first + 1) if first <= d <= last else 0.0 for d in range(k)]


def gaussian(k: int, sigma: float | None = None) -> list[float]:
    """A Gaussian with mu = (k - 1) / 2, normalised once.

    Args:
        k: number of slices.
        sigma: standard deviation in slices; None means (k - 1) / 8, which is .75 at k = 7 as in Kienzle et al. (2022).

    Raises:
        PlanError: if sigma is not positive.
    """
    if sigma is None:
        if k == 1:
            return [1.0]
        sigma = (k - 1) / 8
    if sigma <= 0:
        raise PlanError(f"a Gaussian profile needs sigma > 0, got {sigma}; 'centre' is its limit at zero")
    exponents = [-((d - (k - 1) / 2) ** 2) / (2 * sigma**2) for d in range(k)]
    largest = max(exponents)  # subtracted so that a narrow Gaussian does not underflow to 0 / 0
    return _normalised([math.exp(exponent - largest) for exponent in exponents])


def box3(k: int) -> list[float]:
    """A box three slices wide around the middle (`one_m` of Kienzle et al. 2022): thirds for an odd k.

    The middle of an even k lies between two slices, and the box covers half of each outer one.
    """
    return _normalised([min(max(2 - abs(d - (k - 1) / 2), 0.0), 1.0) for d in range(k)])


def kienzle_1g_as_published(k: int) -> list[float]:
    """The 1G kernel that the published code of Kienzle et al. (2022) computes, to reproduce their numbers.

    Its Gaussian is centred at k // 2 with sigma = (k // 2) / 4. The weights are normalised again after each slice is
    written, so the result is neither a Gaussian nor symmetric. Below three slices it is slice k // 2 alone. `gaussian`
    is the formula of the paper.
    """
    middle = k // 2
    if k < 3:
        return [float(d == middle) for d in range(k)]
    weights = [0.0] * k
    for d in range(k):
        weights[d] = math.exp(-((d - middle) ** 2) / (2 * (middle / 4) ** 2))
        weights = _normalised(weights)
    return weights


def _normalised(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


PROFILES: dict[str, Profile] = {
    "average": average,
    "centre": centre,
    "gaussian": gaussian,
    "box3": box3,
    "kienzle_1g_as_published": kienzle_1g_as_published,
}
"""Depth profiles by name. "gaussian:SIGMA" is understood as well."""


def inflation_names() -> list[str]:
    """Return every name an inflation may have: the profiles, and the inflations that are not a profile."""
    return [*PROFILES, *KERNEL_INFLATIONS, "gaussian:SIGMA"]


def parse_profile(name: str) -> Profile | None:
    """Return the profile of a name, or None for other names. "gaussian:0.75" is a Gaussian of sigma = 0.75 slices.

    Raises:
        PlanError: if the sigma is not a positive number.
    """
    if name in PROFILES:
        return PROFILES[name]
    kind, colon, text = name.partition(":")
    if kind != "gaussian" or not colon:
        return None
    try:
        sigma = float(text)
    except ValueError:
        raise PlanError(f"profile {name!r} has no number as its sigma; write for example 'gaussian:0.75'") from None
    if not 0 < sigma < float("inf"):
        raise PlanError(f"a Gaussian profile needs sigma > 0, got {name!r}; 'centre' is its limit at zero")
    return lambda k: gaussian(k, sigma)


def profile_weights(profile: str | Profile, k: int) -> list[float]:
    """Return the k weights of a profile, checked.

    Raises:
        UnknownNameError: for a name that is not a profile.
        PlanError: if a custom profile does not return k numbers that sum to one.
    """
    if isinstance(profile, str):
        named = parse_profile(profile)
        if named is None:
            raise UnknownNameError("profile", profile, [*PROFILES, "gaussian:SIGMA"])
        return list(named(k))
    values = profile(k)
    try:
        weights = [float(value) for value in values]
    except (TypeError, ValueError, RuntimeError) as fault:  # a tensor of more than one axis, or no sequence at all
        raise PlanError(f"the profile returned {values!r} for {k} slices; it must return {k} numbers") from fault
    if len(weights) != k:
        raise PlanError(f"the profile returned {len(weights)} numbers for {k} slices; it must return {k} numbers")
    if not math.isclose(sum(weights), 1, abs_tol=1e-5):
        raise PlanError(f"the profile's {k} weights sum to {sum(weights):.6f}; divide them by their sum")
    return weights
