"""The verdict about an arm compared with the reference: helps, hurts, or no evidence yet."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from dimlift.report.confidence_interval import CrossedInterval, crossed_interval
from dimlift.report.paired_differences import PairedDifferences

LEVEL = 0.95
Verdict = Literal["helps", "hurts", "no evidence yet"]
NOT_SIGNIFICANT = "not significant after correction for the number of arms"
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """An arm compared with the reference.

    Attributes:
        estimate: mean paired difference (arm - reference) with its interval, not corrected for the number of arms.
        p_adjusted: p value after Holm's correction for the number of arms; None if there is no p value.
        reason: why the verdict is "no evidence yet"; empty otherwise.
    """

    estimate: CrossedInterval
    p_adjusted: float | None
    verdict: Verdict
    reason: str


def compare_arms(pairs: Mapping[Name, PairedDifferences], better: int = 1) -> dict[Name, Comparison]:
    """Return the comparison of each arm that has at least one paired difference.

    Args:
        pairs: paired differences of each arm.
        better: 1 if higher values of the measure are better, -1 if lower values are.
    """
    estimates = {
        name: crossed_interval(arm.differences, arm.cases, arm.seeds, LEVEL)
        for name, arm in pairs.items()
        if len(arm.differences)
    }
    adjusted = holm({name: estimate.p for name, estimate in estimates.items() if estimate.p is not None})
    return {name: _judge(estimate, adjusted.get(name), better) for name, estimate in estimates.items()}


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return p values adjusted for multiple testing; controls the family-wise error rate.

    Holm, 1979, https://www.jstor.org/stable/4615733
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return adjusted


def _judge(estimate: CrossedInterval, p: float | None, better: int) -> Comparison:
    if estimate.n_seeds < 2:
        reason = "trained with one seed only"
    elif estimate.n_cases < 2:
        reason = "tested on one case"
    elif p is None or p >= 1 - LEVEL:
        includes_zero = estimate.low is not None and estimate.high is not None and estimate.low <= 0 <= estimate.high
        reason = "the interval includes zero" if includes_zero else NOT_SIGNIFICANT
    else:
        return Comparison(estimate, p, "helps" if estimate.mean * better > 0 else "hurts", "")
    return Comparison(estimate, p, "no evidence yet", reason)
