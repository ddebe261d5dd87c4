"""Helps, hurts, or no evidence yet: what may be said about an arm after comparing it with the reference."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from dimlift.report.mixed_effects import Estimate, estimate
from dimlift.report.paired_differences import Pairs

LEVEL = 0.95
Verdict = Literal["helps", "hurts", "no evidence yet"]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """An arm against the reference.

    Attributes:
        estimate: mean paired difference (arm - reference) with its interval, for this arm by itself.
        p_adjusted: its p value after Holm's correction for all arms compared; None where no p value exists.
        why: what kept the verdict at "no evidence yet", in words; empty otherwise.
    """

    estimate: Estimate
    p_adjusted: float | None
    verdict: Verdict
    why: str


def compare(pairs: Mapping[Name, Pairs], better: int = 1) -> dict[Name, Comparison]:
    """The verdict about each arm. Arms without a single pair are left out.

    Args:
        pairs: paired differences of each arm.
        better: 1 if more of the measure is better, -1 if less is.
    """
    estimates = {
        name: estimate(one.differences, one.cases, one.seeds, LEVEL)
        for name, one in pairs.items()
        if len(one.differences)
    }
    adjusted = holm({name: found.p for name, found in estimates.items() if found.p is not None})
    return {name: _judge(found, adjusted.get(name), better) for name, found in estimates.items()}


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """p values such that calling those below 5 % errs in at most 5 % of studies, however many are looked at.

    Holm, 1979, https://www.jstor.org/stable/4615733
    """
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return adjusted


def _judge(found: Estimate, p: float | None, better: int) -> Comparison:
    if found.n_seeds < 2:
        why = "trained with one seed only"
    elif found.n_cases < 2:
        why = "tested on one case"
    elif p is None or p >= 1 - LEVEL:
        touches = found.low is not None and found.high is not None and found.low <= 0 <= found.high
        why = "the interval includes zero" if touches else "not beyond chance, given how many arms were compared"
    else:
        return Comparison(found, p, "helps" if found.mean * better > 0 else "hurts", "")
    return Comparison(found, p, "no evidence yet", why)
