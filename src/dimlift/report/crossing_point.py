"""The crossing point: the number of labelled cases above which an arm no longer pays.

The gain of an arm is its mean paired difference to the reference at each number of labelled cases that was tried,
interpolated linearly in log2 of that number. No shape of the curve is assumed. At every number between two that were
tried, the interpolated difference of a case and a seed is again one value for each case and seed, with the interval of
crossed random effects (`confidence_interval.py`): cases and seeds may be related between numbers of labels.

- The arm *pays* at the numbers with the verdict "helps", which is corrected for the number of comparisons.
- The crossing point is the first zero of the curve above the largest number at which it pays. Its 95 % interval holds
  the numbers there at which a gain of zero is not rejected (a test inverted, as by Fieller, 1954).
- The band is simultaneous: Bonferroni's correction for the numbers tried, which covers the lines between them, too.

Nothing is extrapolated beyond the largest number of labelled cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from dimlift.report.confidence_interval import crossed_moments, interval_at
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.verdict import LEVEL, Verdict

STEPS = 24
"""Numbers of labels at which the interval is evaluated between two that were tried."""

Outcome = Literal["pays", "stops paying", "no evidence", "hurts", "not estimated"]


class LabelLevel(NamedTuple):
    """One arm at one number of labelled cases.

    Attributes:
        cases: number of labelled cases.
        pairs: paired differences to the reference.
        verdict: of the arm at this number, corrected for all comparisons of the study.
    """

    cases: float
    pairs: PairedDifferences
    verdict: Verdict


@dataclass(frozen=True)
class Crossing:
    """Up to which number of labelled cases an arm pays.

    Attributes:
        outcome: "pays" if it does at the largest number tried, "stops paying" if only at smaller ones.
        cases: numbers of labelled cases tried, increasing.
        gains: mean paired differences, positive if the arm is better.
        band: (low, high) of the simultaneous 95 % band at these numbers; empty if not estimated.
        paying: numbers with the verdict "helps".
        hurting: numbers with the verdict "hurts".
        crossing: the crossing point; None if the curve has none in the range tried.
        low, high: numbers between which a gain of zero is possible; `low` is known wherever `crossing` is, `high` is
            None if the range ends before.
        reason: why nothing was estimated.
    """

    outcome: Outcome
    cases: tuple[float, ...]
    gains: tuple[float, ...]
    band: tuple[tuple[float, float], ...] = ()
    paying: tuple[float, ...] = ()
    hurting: tuple[float, ...] = ()
    crossing: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def find_crossing(levels: Sequence[LabelLevel], better: int = 1) -> Crossing:
    """Estimate the crossing point of one arm.

    Args:
        levels: the arm at two or more numbers of labelled cases.
        better: 1 if higher values of the measure are better, -1 if lower values are.
    """
    levels = sorted(levels, key=lambda level: level.cases)
    cases = tuple(level.cases for level in levels)
    gains = tuple(float(level.pairs.differences.mean()) * better for level in levels)
    shared, reason = _shared(levels)
    if reason:
        return Crossing("not estimated", cases, gains, reason=reason)
    table, groups, seeds = shared[0] * better, shared[1], shared[2]
    gains = tuple(float(gain) for gain in table.mean(1))
    level = 1 - (1 - LEVEL) / len(cases)
    band = tuple(interval_at(crossed_moments(row, groups, seeds), level) for row in table)
    paying, hurting = (
        tuple(each.cases for each in levels if each.verdict == verdict) for verdict in ("helps", "hurts")
    )
    found = Crossing("no evidence", cases, gains, band, paying, hurting)
    if not paying:
        return replace(found, outcome="hurts" if hurting else "no evidence")
    last = cases.index(paying[-1])
    if last == len(cases) - 1:
        return replace(found, outcome="pays")
    numbers, curve, possible = _interpolate(table, groups, seeds, cases, last)
    crossing = _first_zero(numbers, curve)
    inside = possible | _around(numbers, crossing)
    if not inside.any():
        return replace(found, outcome="stops paying")
    start, end = np.flatnonzero(inside)[[0, -1]]  # widened by a step, within which the ends lie
    low = float(numbers[max(0, start - 1)])
    high = None if possible[-1] else float(numbers[min(end + 1, len(numbers) - 1)])
    return replace(found, outcome="stops paying", crossing=crossing, low=low, high=high)


def _shared(
    levels: Sequence[LabelLevel],
) -> tuple[tuple[Float[np.ndarray, "levels pairs"], np.ndarray, np.ndarray], str]:
    """Return the differences of the seeds finished at every number of labels, and why they cannot be used."""
    nothing = np.zeros((0, 0)), np.zeros(0, int), np.zeros(0, int)
    for level in levels:
        if level.pairs.missing_cases or level.pairs.missing_classes:
            return nothing, f"with {level.cases:g} labelled cases only one of the two arms has all scores"
    seeds = sorted(set.intersection(*(set(level.pairs.seeds.tolist()) for level in levels)))
    if len(seeds) < 2:
        return nothing, "fewer than two seeds were trained at every number of labelled cases"
    kept = [np.isin(level.pairs.seeds, seeds) for level in levels]
    first = levels[0].pairs
    order = first.cases[kept[0]], first.seeds[kept[0]]
    for level, keep in zip(levels, kept, strict=True):
        own = level.pairs.cases[keep], level.pairs.seeds[keep]
        same = all(np.array_equal(one, other) for one, other in zip(own, order, strict=True))
        if not same or level.pairs.case_names != first.case_names:
            return nothing, f"{levels[0].cases:g} and {level.cases:g} labelled cases were tested on different cases"
    if len(np.unique(order[0])) < 2:
        return nothing, "tested on one case"
    table = np.stack([level.pairs.differences[keep] for level, keep in zip(levels, kept, strict=True)])
    return (table, *order), ""


def _interpolate(
    table: np.ndarray, groups: np.ndarray, seeds: np.ndarray, cases: Sequence[float], first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers of labels from the given level on, the gain there, and whether a gain of zero is possible."""
    numbers, gains, possible = [], [], []
    for index in range(first, len(cases) - 1):
        start, end = np.log2(cases[index]), np.log2(cases[index + 1])
        for part in np.linspace(0, 1, STEPS + 1)[1 if index > first else 0 :]:
            values = (1 - part) * table[index] + part * table[index + 1]
            low, high = interval_at(crossed_moments(values, groups, seeds), LEVEL)
            numbers.append(2 ** (start + part * (end - start)))
            gains.append(values.mean())
            possible.append(low <= 0 <= high)
    return np.array(numbers), np.array(gains), np.array(possible)


def _around(numbers: np.ndarray, crossing: float | None) -> np.ndarray:
    """Return which numbers are next to the crossing point, on either side."""
    if crossing is None:
        return np.zeros(len(numbers), bool)
    after = int(np.searchsorted(numbers, crossing))
    return np.isin(np.arange(len(numbers)), (after - 1, after))


def _first_zero(numbers: np.ndarray, gains: np.ndarray) -> float | None:
    """Return where the interpolated gain first falls to zero, linearly in log2; None if it stays positive."""
    below = np.flatnonzero(gains <= 0)
    if not len(below) or below[0] == 0:
        return None
    before, after = below[0] - 1, below[0]
    part = gains[before] / (gains[before] - gains[after])
    return float(2 ** ((1 - part) * np.log2(numbers[before]) + part * np.log2(numbers[after])))
