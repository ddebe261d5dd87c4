"""Mean and confidence interval of paired differences when every case is tested under every seed.

Cases and seeds are crossed random effects: a hard case is hard under every seed, an unlucky seed affects every case.
The model of a difference is

    difference[case, seed] = effect + case effect + seed effect + residual

with random effects, and the uncertainty of the mean has two sources that decrease at different rates: more cases do not
compensate for few seeds. Treating all differences as independent, or bootstrapping over three seeds, ignores this and
reports effects that do not exist.

Estimator. Let V_c and V_s be the variances of the mean estimated from case means and from seed means (each includes
part of the residual), and V_r the residual's own. The half width h of the interval at level 1 - a is

    h^2 = max(t(a, cases - 1)^2 (V_c - V_r)^+ + t(a, seeds - 1)^2 V_s,   t(a, cases - 1)^2 V_c)

Each source gets the t quantile of its own degrees of freedom, as in Howe (1974) and Graybill and Wang (1980). A single
Satterthwaite number for the sum is shorter, but with three seeds it gives up to 7 % false verdicts instead of 5 %
(`benchmarks/calibration.py`). The second term guards against a V_s that is small by chance.

Skewness. The interval is the union of the symmetric one and the one corrected for the skewness of the cases
(`skewness.py`), so that the correction only ever makes a verdict weaker. It acts once a failure is in the sample.
Failures rarer than the sample can show are in no interval: n cases miss a failure rate of 1 - 0.05^(1/n) in one study
of twenty (`unseen_share`).

Incomplete tables (cv folds still running, cases that differ between seeds) use the same formula: V_c and V_s become the
cluster sums of Cameron, Gelbach and Miller (2011), the numbers of cases and seeds become effective numbers, and both
reduce to the classical mean squares if the table is complete.

- Howe, 1974, https://doi.org/10.1080/01621459.1974.10480178
- Graybill and Wang, 1980, https://doi.org/10.1080/01621459.1980.10477565
- Cameron, Gelbach and Miller, 2011, https://doi.org/10.1198/jbes.2010.07136
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from dimlift.report.cluster_variance import cluster_contributions, unexplained_variance, variance_of_mean
from dimlift.report.skewness import case_skewness, remove_skewness, restore_skewness

Coverage = Literal["cases and seeds", "cases", "seeds", "nothing"]

SMALLEST_P = 1e-12


@dataclass(frozen=True)
class CrossedInterval:
    """A mean difference with its confidence interval.

    Attributes:
        low, high: the interval; None if neither cases nor seeds were repeated.
        covers: random effects that the interval accounts for. A single seed carries no information about other seeds.
        p: probability of a mean at least this far from zero if there is no effect; None unless both were repeated.
        case_variance, seed_variance, residual_variance: V_c, V_s and V_r of the module docstring.
        case_freedom, seed_freedom: effective numbers of cases and seeds, minus one.
        skewness: of the mean, from its cases; see `skewness.py`.
    """

    mean: float
    low: float | None
    high: float | None
    covers: Coverage
    p: float | None
    n_cases: int
    n_seeds: int
    case_variance: float
    seed_variance: float
    residual_variance: float
    case_freedom: float = 0.0
    seed_freedom: float = 0.0
    skewness: float = 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the sources that the interval covers."""
        crossed = self.case_variance + self.seed_variance - self.residual_variance
        return float(np.sqrt(max(crossed, self.case_variance)))


def crossed_interval(
    values: Float[np.ndarray, " values"],
    cases: Int[np.ndarray, " values"],
    seeds: Int[np.ndarray, " values"],
    level: float = 0.95,
) -> CrossedInterval:
    """Return mean and confidence interval of values that each belong to one case and one seed.

    Args:
        values: paired differences, at least one.
        cases: case of each value, or the group of dependent cases, as integers.
        seeds: seed of each value, as integers.
        level: nominal coverage of the interval.
    """
    moments = crossed_moments(values, cases, seeds)
    if moments.covers == "nothing":
        return moments
    low, high = interval_at(moments, level)
    p = p_value(moments) if moments.covers == "cases and seeds" else None
    return replace(moments, low=low, high=high, p=p)


def crossed_moments(
    values: Float[np.ndarray, " values"],
    cases: Int[np.ndarray, " values"],
    seeds: Int[np.ndarray, " values"],
) -> CrossedInterval:
    """Return the mean and its variances without interval and p value, see `crossed_interval`."""
    mean = float(values.mean())
    residuals = values - mean
    cases, seeds = (np.unique(cluster, return_inverse=True)[1] for cluster in (cases, seeds))
    case_sums, n_cases, case_freedom = cluster_contributions(residuals, cases)
    seed_sums, n_seeds, seed_freedom = cluster_contributions(residuals, seeds)
    case_variance = variance_of_mean(case_sums, case_freedom)
    seed_variance = variance_of_mean(seed_sums, seed_freedom)
    crossed = n_cases > 1 and n_seeds > 1
    residual_variance = unexplained_variance(residuals, cases, seeds) if crossed else 0.0
    covers: Coverage = (
        "cases and seeds" if crossed else "cases" if n_cases > 1 else "seeds" if n_seeds > 1 else "nothing"
    )
    variances = case_variance, seed_variance, residual_variance
    freedoms = case_freedom, seed_freedom
    moments = CrossedInterval(mean, None, None, covers, None, n_cases, n_seeds, *variances, *freedoms)
    error = moments.standard_error
    # the third moment comes from the cases only; seeds and residual dilute it
    share = (np.sqrt(case_variance) / error) ** 3 if error > 0 else 0.0
    return replace(moments, skewness=float(case_skewness(case_sums) * share))


def half_width(moments: CrossedInterval, alpha: float) -> float:
    """Return half the width of the symmetric interval at level 1 - alpha."""
    case_t = -special.stdtrit(moments.case_freedom, alpha / 2) if moments.n_cases > 1 else 0.0
    seed_t = -special.stdtrit(moments.seed_freedom, alpha / 2) if moments.n_seeds > 1 else 0.0
    crossed = case_t**2 * max(moments.case_variance - moments.residual_variance, 0) + seed_t**2 * moments.seed_variance
    return float(np.sqrt(max(crossed, case_t**2 * moments.case_variance)))


def interval_at(moments: CrossedInterval, level: float) -> tuple[float, float]:
    """Return the union of the symmetric interval and the one corrected for skewness."""
    half, error = half_width(moments, 1 - level), moments.standard_error
    if half <= 0 or error <= 0:
        return moments.mean, moments.mean
    above, below = (restore_skewness(sign * half / error, moments.skewness) * error for sign in (1, -1))
    return moments.mean - max(half, above), moments.mean + max(half, -below)


def p_value(moments: CrossedInterval, null: float = 0.0) -> float:
    """Return the level at which the interval just reaches a value: the two-sided p value of that mean difference.

    Without any variance a p value cannot be estimated, and it is 1.
    """
    distance, error = moments.mean - null, moments.standard_error
    if half_width(moments, 0.05) <= 1e-9 * abs(distance) or error <= 0:
        return 1.0
    sign = np.sign(distance)
    corrected = float(sign * error * remove_skewness(distance / error, moments.skewness))
    reached = max(min(abs(distance), corrected), 0.0)
    if half_width(moments, SMALLEST_P) <= reached:
        return SMALLEST_P
    # bisection, because t quantiles with less than one degree of freedom diverge
    root = optimize.bisect(lambda log: half_width(moments, np.exp(log)) - reached, np.log(SMALLEST_P), 0.0)
    return float(np.exp(root))


def unseen_share(count: int, chance: float = 0.05) -> float:
    """Return the share of failures that a sample of `count` contains none of, with a probability of `chance`."""
    return float(1 - chance ** (1 / count))
