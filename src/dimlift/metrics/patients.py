"""An interval for a score over cases, where cases of one patient are no independent witnesses."""

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
    """Percentile bootstrap over patients: as many patients as there are, drawn with replacement, each with all cases.

    It says how far the score would scatter with other patients, the predictions being what they are; it does not know
    that other training cases would have given another model. (Cluster bootstrap: Field and Welsh, 2007,
    https://doi.org/10.1111/j.1467-9868.2007.00593.x)

    Args:
        score: of the cases whose indices it is given, repeats included; None where it is not defined.
        groups: the patient of each case.

    Returns:
        None if there is one patient, or fewer than half the draws have a score.

    Raises:
        ShapeError: if there is no case.
    """
    if not len(groups):
        raise ShapeError("no case to draw from; give at least one")
    names, patient = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(patient == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]) for _ in range(draws))
    found = [value for value in map(score, drawn) if value is not None]
    if len(found) < draws / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
