"""Labels saved: the number of labelled cases with which the reference reaches an arm's score.

The scores of the reference over its numbers of training cases, interpolated linearly in the logarithm of that number,
form its learning curve. An arm that scores with 8 cases what the curve has at 20 cases saves 12 labels. The ends of the
interval of the paired difference are transformed in the same way. The uncertainty of the curve is not included. A curve
that falls is replaced by its running maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dimlift.report.summary_types import LabelSavings, SummaryRow


@dataclass(frozen=True)
class ReferenceCurve:
    """Scores of the reference, oriented so that higher is better.

    Attributes:
        cases: numbers of training cases, increasing.
        scores: non-decreasing.
    """

    cases: np.ndarray
    scores: np.ndarray

    def cases_for(self, score: float) -> float:
        """Return the number of cases at which the curve reaches a score: 0 below its start, infinity above its end."""
        if score > self.scores[-1]:
            return float("inf")
        if score < self.scores[0]:
            return 0.0
        # of a plateau the first point: the smallest number of cases with that score
        rising = [
            index for index in range(len(self.scores)) if index == 0 or self.scores[index] > self.scores[index - 1]
        ]
        return float(np.exp(np.interp(score, self.scores[rising], np.log(self.cases[rising]))))


def add_label_savings(rows: Sequence[SummaryRow], better: int) -> tuple[SummaryRow, ...]:
    """Add label savings to all rows if the reference was trained with at least two numbers of cases.

    Args:
        better: 1 if higher values of the measure are better, -1 if lower values are.
    """
    known = sorted(
        (row.training_cases, row.mean * better)
        for row in rows
        if row.is_reference and row.mean is not None and row.training_cases
    )
    if len({cases for cases, _ in known}) < 2:
        return tuple(rows)
    scores = np.maximum.accumulate([score for _, score in known])
    curve = ReferenceCurve(np.array([cases for cases, _ in known]), scores)
    reference = {row.train_size: row.mean * better for row in rows if row.is_reference and row.mean is not None}
    return tuple(
        replace(row, label_savings=_label_savings(row, curve, reference.get(row.train_size), better)) for row in rows
    )


def _label_savings(row: SummaryRow, curve: ReferenceCurve, reference: float | None, better: int) -> LabelSavings | None:
    if row.comparison is None or reference is None:
        return None
    estimate = row.comparison.estimate
    cases = curve.cases_for(reference + better * estimate.mean)
    tested = float(curve.cases[0]), float(curve.cases[-1])
    if estimate.low is None or estimate.high is None:
        return LabelSavings(_finite(cases), None, None, *tested)
    low, high = sorted(curve.cases_for(reference + better * end) for end in (estimate.low, estimate.high))
    return LabelSavings(_finite(cases), _finite(low), _finite(high), *tested)


def _finite(cases: float) -> float | None:
    """Replace infinity, which JSON does not support, by None."""
    return None if np.isinf(cases) else cases
