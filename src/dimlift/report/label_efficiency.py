"""How many labelled cases an arm is worth: where the reference's own learning curve reaches the arm's score.

The reference was trained on several label fractions; its scores over the number of training cases, joined by straight
lines over the logarithm of that number, are its learning curve. An arm with 8 cases that scores what the curve has at
20 is worth 20 cases of the reference: it saves 12. The interval carries the interval of the paired difference through
the curve, which itself counts as known; curves that fall are taken at their running best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dimlift.report.summary_types import Row, Worth


@dataclass(frozen=True)
class Curve:
    """The reference's scores, better is higher.

    Attributes:
        cases: numbers of training cases, rising.
        scores: never falling.
    """

    cases: np.ndarray
    scores: np.ndarray

    def cases_for(self, score: float) -> float:
        """Number of cases at which the curve reaches a score: 0 below its start, infinity above its end."""
        if score > self.scores[-1]:
            return float("inf")
        if score < self.scores[0]:
            return 0.0
        # of a level stretch the first point: the cheapest way to the score
        first = [
            index for index in range(len(self.scores)) if index == 0 or self.scores[index] > self.scores[index - 1]
        ]
        return float(np.exp(np.interp(score, self.scores[first], np.log(self.cases[first]))))


def with_worth(rows: Sequence[Row], better: int) -> tuple[Row, ...]:
    """Rows with what their arms are worth, where the reference was trained on at least two label fractions.

    Args:
        better: 1 if more of the measure is better, -1 if less is.
    """
    known = sorted(
        (row.training_cases, row.mean * better)
        for row in rows
        if row.is_reference and row.mean is not None and row.training_cases
    )
    if len({cases for cases, _ in known}) < 2:
        return tuple(rows)
    curve = Curve(np.array([cases for cases, _ in known]), np.maximum.accumulate([score for _, score in known]))
    at = {row.fraction: row.mean * better for row in rows if row.is_reference and row.mean is not None}
    return tuple(replace(row, worth=_worth(row, curve, at.get(row.fraction), better)) for row in rows)


def _worth(row: Row, curve: Curve, reference: float | None, better: int) -> Worth | None:
    if row.comparison is None or reference is None:
        return None
    found = row.comparison.estimate
    cases = curve.cases_for(reference + better * found.mean)
    if found.low is None or found.high is None:
        return Worth(_bounded(cases), None, None, float(curve.cases[0]), float(curve.cases[-1]))
    low, high = sorted(curve.cases_for(reference + better * end) for end in (found.low, found.high))
    return Worth(_bounded(cases), _bounded(low), _bounded(high), float(curve.cases[0]), float(curve.cases[-1]))


def _bounded(cases: float) -> float | None:
    """None stands for more than the curve reaches: infinity is no JSON."""
    return None if np.isinf(cases) else cases
