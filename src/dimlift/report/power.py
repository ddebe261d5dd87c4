"""Required size of a study: the variances measured in this one, extrapolated to other numbers of cases and seeds.

The variances of the mean (`CrossedInterval`) are separated into a case, a seed and a residual component, each divided
by the number it decreases with: cases, seeds, both. A difference is detected with a probability of 80 % if it exceeds
the half width of the interval by 0.84 standard errors. The variances are estimates themselves, rough ones with few
seeds, so the result is approximate.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from dimlift.report.confidence_interval import CrossedInterval
from dimlift.report.phrases import plural
from dimlift.report.summary_types import Summary

POWER = 0.8
MAX_CASES, MAX_SEEDS = 5000, 30


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of one paired difference: between cases, between seeds, and the rest."""

    case: float
    seed: float
    residual: float


SMALL_STUDIES = VarianceComponents(0.03**2, 0.01**2, 0.03**2)
"""Of Dice, as in the studies of docs/results.md with a few training cases (there: "as on small data sets")."""


@dataclass(frozen=True)
class RequiredSize:
    """Cases and seeds with which a difference is detected at the given power."""

    cases: int
    seeds: int


def variance_components(estimate: CrossedInterval) -> VarianceComponents:
    """Return the components that variances of a mean over cases and seeds were made of."""
    residual = estimate.residual_variance
    return VarianceComponents(
        max(estimate.case_variance - residual, 0.0) * estimate.n_cases,
        max(estimate.seed_variance - residual, 0.0) * estimate.n_seeds,
        residual * estimate.n_cases * estimate.n_seeds,
    )


def detectable_difference(
    found: VarianceComponents, cases: int, seeds: int, level: float = 0.95, power: float = POWER
) -> float:
    """Return the smallest difference that is detected with a probability of `power`.

    Args:
        found: variances of one paired difference.
        cases, seeds: of the study, at least 2.
        level: of the interval that must exclude zero; 1 - 0.05 / m for m comparisons.
    """
    half, error = _half_width_and_error(found, cases, seeds, level)
    return half + float(special.ndtri(power)) * error


def power_of(found: VarianceComponents, difference: float, cases: int, seeds: int, level: float = 0.95) -> float:
    """Return the probability that a difference is detected, see `detectable_difference`."""
    half, error = _half_width_and_error(found, cases, seeds, level)
    return float(special.ndtr((abs(difference) - half) / error)) if error > 0 else 1.0


def required_size(estimate: CrossedInterval, difference: float, level: float = 0.95) -> RequiredSize | None:
    """Return the smallest number of seeds, starting with the study's own, and the smallest sufficient number of cases.

    None if cases or seeds were not repeated, or if `MAX_CASES` and `MAX_SEEDS` are not sufficient.
    """
    if estimate.n_cases < 2 or estimate.n_seeds < 2:
        return None
    for seeds in range(estimate.n_seeds, MAX_SEEDS + 1):
        if _is_detected(estimate, difference, MAX_CASES, seeds, level):
            low, high = 1, MAX_CASES
            while high - low > 1:
                middle = (low + high) // 2
                detected = _is_detected(estimate, difference, middle, seeds, level)
                low, high = (low, middle) if detected else (middle, high)
            return RequiredSize(high, seeds)
    return None


def power_sentence(summary: Summary) -> str:
    """State the size required to detect the relevant difference, from the median comparison; empty if unknown."""
    measure, difference = summary.measure, summary.measure.relevant_difference
    typical = typical_estimate(summary)
    if difference is None or typical is None:
        return ""
    own = f"this study has {plural(typical.n_cases, 'case')} and {plural(typical.n_seeds, 'seed')}"
    size = required_size(typical, difference)
    start = f"To detect a difference of {difference:g} {measure.title} with a probability of 80 %"
    if size is None:
        return f"{start}, {MAX_CASES} cases and {MAX_SEEDS} seeds are not sufficient ({own})."
    note = "" if size.seeds == typical.n_seeds else f", as no number of cases compensates for {typical.n_seeds} seeds"
    cases = plural(_round_up(size.cases), "case")
    return f"{start}, about {cases} and {plural(size.seeds, 'seed')} are needed for one arm{note}; {own}."


def typical_estimate(summary: Summary) -> CrossedInterval | None:
    """Return the comparison at the largest training size whose interval has the median width; None without any."""
    estimates = [
        row.comparison.estimate
        for row in summary.rows
        if row.comparison and row.train_size == summary.largest_size and row.comparison.estimate.p is not None
    ]
    estimates.sort(key=lambda one: (one.high or 0.0) - (one.low or 0.0))
    return estimates[len(estimates) // 2] if estimates else None


def _round_up(count: int) -> int:
    """Round up to two significant digits."""
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _is_detected(estimate: CrossedInterval, difference: float, cases: int, seeds: int, level: float) -> bool:
    return cases > 1 and difference >= detectable_difference(variance_components(estimate), cases, seeds, level)


def _half_width_and_error(found: VarianceComponents, cases: int, seeds: int, level: float) -> tuple[float, float]:
    case, seed, residual = found.case / cases, found.seed / seeds, found.residual / (cases * seeds)
    case_t, seed_t = -special.stdtrit((cases - 1, seeds - 1), (1 - level) / 2)
    half = np.sqrt(max(case_t**2 * case + seed_t**2 * (seed + residual), case_t**2 * (case + residual)))
    return float(half), float(np.sqrt(case + seed + residual))
