"""Correction of a mean for the skewness of its differences.

If one case in ten fails by half a Dice point and the other nine gain a little, few studies contain the right number of
failures: with too few, the mean is too high and so is its t statistic. The sample's third moment shows this as soon as
one failure is in the sample. The cubic transformation of Hall (1992) removes the skewness of the t statistic and,
unlike the correction of Johnson (1978), is monotone, so that it can be inverted for an interval:

    T = t + s t^2 / 3 + s^2 t^3 / 27 + s / 6,    s = skewness of the mean

Skewness estimated from few cases is noisy, and a correction by noise costs power. Half a standard error of the
skewness of a normal sample is therefore subtracted from its size (`benchmarks/calibration.py` measures both sides).

- Hall, 1992, https://doi.org/10.1111/j.2517-6161.1992.tb01876.x
- Johnson, 1978, https://doi.org/10.1080/01621459.1978.10480051
"""

import math

import numpy as np
from jaxtyping import Float

IGNORED_ERRORS = 0.5
"""Part of the standard error of a normal sample's skewness that is not corrected."""


def case_skewness(contributions: Float[np.ndarray, " cases"]) -> float:
    """Return the skewness of a sum, estimated from the contributions of its cases, each with mean zero.

    It is zero with fewer than three cases, and for a skewness that a normal sample has by chance.
    """
    cases = len(contributions)
    squares = float((contributions**2).sum())
    if cases < 3 or squares == 0:
        return 0.0
    skewness = float((contributions**3).sum()) * math.sqrt(cases) / squares**1.5
    error = math.sqrt(6 * (cases - 2) / ((cases + 1) * (cases + 3)))
    return math.copysign(max(abs(skewness) - IGNORED_ERRORS * error, 0.0), skewness) / math.sqrt(cases)


def remove_skewness(statistic: float, skewness: float) -> float:
    """Return Hall's transformation of a t statistic."""
    if abs(skewness) < 1e-9:
        return statistic
    return float(((1 + skewness * statistic / 3) ** 3 - 1) / skewness + skewness / 6)


def restore_skewness(transformed: float, skewness: float) -> float:
    """Return the t statistic whose transformation is given: the inverse of `remove_skewness`."""
    if abs(skewness) < 1e-9:
        return transformed
    return float(3 * (np.cbrt(1 + skewness * (transformed - skewness / 6)) - 1) / skewness)
