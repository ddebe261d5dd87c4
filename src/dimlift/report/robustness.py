"""Whether a verdict survives without any one case or seed, and which failures a study cannot have seen."""

from collections.abc import Iterator, Sequence

import numpy as np

from dimlift.report.confidence_interval import crossed_moments, interval_at, unseen_share
from dimlift.report.paired_differences import PairedDifferences

CANDIDATES = 3
"""Cases left out: those that contribute most to the difference. Leaving out any other one changes it less."""


def rests_on(pairs: PairedDifferences, levels: Sequence[float]) -> list[str]:
    """Return for each level the case or seed without which the interval includes zero ("case liver_3"), or nothing.

    Fewer than three cases or seeds cannot spare one. Without a seed, or with two cases left, the interval is so much
    wider (t(1) = 12.7, t(2) = 4.3) that only a change of the direction counts.
    """
    mean = float(pairs.differences.mean())
    found = [""] * len(levels)
    for name, keep, has_interval in _without_one(pairs):
        if not has_interval and pairs.differences[keep].mean() * mean > 0:
            continue
        moments = crossed_moments(pairs.differences[keep], pairs.cases[keep], pairs.seeds[keep])
        for position, level in enumerate(levels):
            low, high = interval_at(moments, level) if has_interval else (moments.mean, moments.mean)
            if not found[position] and (low <= 0 if mean > 0 else high >= 0):
                found[position] = name
    return found


def tolerated_failure(mean: float, count: int) -> float:
    """Return how much worse failed cases, or trainings, have to be to cancel a difference if the most unseen ones fail.

    A sample of `count` contains none of a share q = 1 - 0.05^(1/count) of failures in one study of twenty. If the
    others differ by `mean`, failures of mean * (1 - q) / q make the true difference zero.
    """
    share = unseen_share(count)
    return abs(mean) * (1 - share) / share


def _without_one(pairs: PairedDifferences) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Yield the name of what is left out, a mask of the remaining differences, and whether their interval counts."""
    cases, index = np.unique(pairs.cases, return_inverse=True)
    if len(cases) > 2:
        sums = np.bincount(index, pairs.differences) * np.sign(pairs.differences.mean())
        for position in np.argsort(-sums)[:CANDIDATES]:
            number = int(cases[position])
            name = pairs.case_names[number] if number < len(pairs.case_names) else str(number)
            yield f"case {name}", index != position, len(cases) > 3
    seeds = np.unique(pairs.seeds)
    if len(seeds) > 2:
        for seed in seeds:
            yield f"seed {seed}", pairs.seeds != seed, False
