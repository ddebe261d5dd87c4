"""How large a study must be to see a difference of one point: what this one has measured, carried to other sizes.

The variances of the mean (`crossed.Estimate`) are taken apart into a case's share, a seed's share and a rest, each
divided by what it dwindles with: cases, seeds, both. A difference is seen with a chance of 80 % when it exceeds the
half width of the interval by 0.84 standard errors. The variances are themselves estimates, with few seeds
rough ones: the answer is "about".
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from dimlift.report.mixed_effects import Estimate
from dimlift.report.phrases import counted
from dimlift.report.summary_types import Summary

POWER = 0.8
MOST_CASES, MOST_SEEDS = 5000, 30


@dataclass(frozen=True)
class Needed:
    """Cases and seeds with which a difference would probably be seen."""

    cases: int
    seeds: int


def needed(found: Estimate, difference: float, level: float = 0.95) -> Needed | None:
    """The fewest seeds, from the study's own number on, for which some number of cases is enough; and that number.

    None where cases or seeds were not repeated, or where no size up to `MOST_CASES` and `MOST_SEEDS` is enough.
    """
    if found.n_cases < 2 or found.n_seeds < 2:
        return None
    for seeds in range(found.n_seeds, MOST_SEEDS + 1):
        if _seen(found, difference, MOST_CASES, seeds, level):
            low, high = 1, MOST_CASES
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _seen(found, difference, middle, seeds, level) else (middle, high)
            return Needed(high, seeds)
    return None


def power_sentence(summary: Summary) -> str:
    """How large the study would have to be to see one point, from its median comparison; empty where none can tell."""
    point, measure = summary.measure.point, summary.measure
    fraction = max(row.fraction for row in summary.rows)
    found = [
        row.comparison.estimate
        for row in summary.rows
        if row.comparison and row.fraction == fraction and row.comparison.estimate.p is not None
    ]
    if point is None or not found:
        return ""
    found.sort(key=lambda one: (one.high or 0.0) - (one.low or 0.0))
    typical = found[len(found) // 2]
    has = f"this study has {counted(typical.n_cases, 'case')} and {counted(typical.n_seeds, 'seed')}"
    size, start = needed(typical, point), f"To see a difference of {point:g} {measure.title} with a chance of 80 %"
    if size is None:
        return f"{start}, {MOST_CASES} cases and {MOST_SEEDS} seeds would not be enough ({has})."
    more = "" if size.seeds == typical.n_seeds else f", as no number of cases makes up for {typical.n_seeds} seeds"
    about = counted(_rounded(size.cases), "case")
    return f"{start}, about {about} and {counted(size.seeds, 'seed')} are needed for one arm{more}; {has}."


def _rounded(count: int) -> int:
    """Up to two digits that count: more would not be "about"."""
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _seen(found: Estimate, difference: float, cases: int, seeds: int, level: float) -> bool:
    if cases < 2:
        return False
    by_case, by_seed = found.n_cases / cases, found.n_seeds / seeds
    rest = found.rest_variance * by_case * by_seed
    case = max(found.case_variance - found.rest_variance, 0.0) * by_case
    seed = max(found.seed_variance - found.rest_variance, 0.0) * by_seed
    case_t, seed_t = -special.stdtrit((cases - 1, seeds - 1), (1 - level) / 2)
    half = np.sqrt(max(case_t**2 * case + seed_t**2 * (seed + rest), case_t**2 * (case + rest)))
    return bool(difference >= half + special.ndtri(POWER) * np.sqrt(case + seed + rest))
