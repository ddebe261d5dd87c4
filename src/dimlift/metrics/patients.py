"""Bootstrap interval of a score over cases that are grouped by patient."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from dimlift.errors import ShapeError


def patient_interval(
    score: Callable[[NDArray[np.intp]], float | None],
    groups: Shaped[np.ndarray, " cases"],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile interval of a cluster bootstrap: patients are resampled, each with all of its cases.

    The interval covers the variation over patients for fixed predictions, not that over training sets. (Field and
    Welsh, 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x)

    Args:
        score: returns the score of the cases at some indices, with repetitions; None if it is undefined.
        groups: patient of each case.
        draws: bootstrap samples.
        level: coverage of the interval.
        seed: random seed.

    Returns:
        None if there is one patient, or fewer than half of the bootstrap samples have a score.

    Raises:
        ShapeError: if there is no case.
    """
    if not len(groups):
        raise ShapeError("there is no case to resample; at least one is expected")
    names, patient = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(patient == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    resampled = (np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]) for _ in range(draws))
    values = [value for value in map(score, resampled) if value is not None]
    if len(values) < draws / 2:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
