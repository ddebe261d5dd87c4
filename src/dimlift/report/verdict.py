"""The verdict about an arm compared with the reference: helps, hurts, or no evidence yet."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from dimlift.report.confidence_interval import CrossedInterval, crossed_interval, half_width, p_value
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.robustness import rests_on, tolerated_failure

LEVEL = 0.95
WEAK_LEVEL = 0.9
"""Level of the interval that has to exclude zero without any one case. A case that holds up more than this decides."""

Verdict = Literal["helps", "hurts", "no evidence yet"]
OPEN: Verdict = "no evidence yet"
INCLUDES_ZERO = "the interval includes zero"
ONE_SEED = "trained with one seed only"
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class VerdictRules:
    """What the reader of a study decides about its verdicts.

    Attributes:
        margin: difference that is too small to matter, tested by two one-sided tests; None to omit the test.
        unseen_failure: a verdict has to remain if as many cases as can go unseen are worse by this much; 0 to assume
            that cases fail often enough to be in the sample, or not at all. See `tolerated_failure`.
        unseen_collapse: the same for trainings.
        analyses: planned number of analyses, after each of which the study may have stopped. p values are
            multiplied by it, so that at most 5 % of studies contain a false verdict whenever they stop (Bonferroni).
    """

    margin: float | None = None
    unseen_failure: float = 0.0
    unseen_collapse: float = 0.0
    analyses: int = 1


@dataclass(frozen=True)
class Comparison:
    """An arm compared with the reference.

    Attributes:
        estimate: mean paired difference (arm - reference) with its interval, not corrected for the number of arms.
        p_adjusted: p value after Holm's correction for the number of arms; None if there is no p value.
        reason: why the verdict is "no evidence yet"; empty otherwise.
        decisive: case or seed without which the interval includes zero, for example "case liver_3"; empty if none.
        margin: the difference is shown to be smaller than this, in both directions; None if it is not.
        for_these_weights: verdict over cases of an arm with one training; it does not hold for other trainings.
        p_for_these_weights: its p value after Holm's correction.
    """

    estimate: CrossedInterval
    p_adjusted: float | None
    verdict: Verdict
    reason: str
    decisive: str = ""
    margin: float | None = None
    for_these_weights: Verdict = OPEN
    p_for_these_weights: float | None = None


def compare_arms(
    pairs: Mapping[Name, PairedDifferences],
    better: int = 1,
    rules: VerdictRules = VerdictRules(),
    counted: str = "arms",
) -> dict[Name, Comparison]:
    """Return the comparison of each arm that has at least one paired difference.

    Args:
        pairs: paired differences of each arm.
        better: 1 if higher values of the measure are better, -1 if lower values are.
        rules: margin and failures to allow for.
        counted: what `pairs` are, for the reason of a comparison that the correction decides.
    """
    pairs = {name: arm for name, arm in pairs.items() if len(arm.differences)}
    estimates = {name: crossed_interval(arm.differences, arm.cases, arm.seeds, LEVEL) for name, arm in pairs.items()}
    analyses = rules.analyses
    adjusted = holm({name: one.p * analyses for name, one in estimates.items() if one.p is not None})
    conditional = holm({name: p_value(one) for name, one in estimates.items() if one.covers == "cases"})
    margin = rules.margin or 0.0
    equal = holm(
        {name: _p_equivalent(one, margin) * analyses for name, one in estimates.items() if margin and one.p is not None}
    )
    number = f"{len(adjusted)} {counted}" + (f" and {analyses} analyses" if analyses > 1 else "")
    found = {}
    for name, estimate in estimates.items():
        comparison = _judge(pairs[name], estimate, adjusted.get(name), number, better, rules)
        sound = not _cannot_conclude(pairs[name])
        if sound and equal.get(name, 1.0) < 1 - LEVEL:
            comparison = replace(comparison, margin=margin)
        p = conditional.get(name)
        if p is not None and sound:
            beyond_chance = p < 1 - LEVEL and rests_on(pairs[name], (WEAK_LEVEL,)) == [""]
            judged = _direction(estimate, better) if beyond_chance else OPEN
            comparison = replace(comparison, for_these_weights=judged, p_for_these_weights=p)
        found[name] = comparison
    return found


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


def _judge(
    pairs: PairedDifferences,
    estimate: CrossedInterval,
    p: float | None,
    counted: str,
    better: int,
    rules: VerdictRules,
) -> Comparison:
    reason = _cannot_conclude(pairs)
    if not reason and estimate.n_seeds < 2:
        reason = ONE_SEED
    elif not reason and estimate.n_cases < 2:
        reason = "tested on one case"
    elif not reason and (p is None or p >= 1 - LEVEL):
        reason = _not_significant(estimate, counted)
    if reason:
        return Comparison(estimate, p, OPEN, reason)
    weak, decisive = rests_on(pairs, (WEAK_LEVEL, LEVEL))
    if weak:
        return Comparison(estimate, p, OPEN, f"rests on {weak} alone", weak)
    for noun, count, loss in (
        ("cases", estimate.n_cases, rules.unseen_failure),
        ("trainings", estimate.n_seeds, rules.unseen_collapse),
    ):
        tolerated = tolerated_failure(estimate.mean, count)
        if tolerated < loss:
            reason = f"failures of {tolerated:.2g} in {noun} that the sample can have missed would cancel it"
            return Comparison(estimate, p, OPEN, reason)
    return Comparison(estimate, p, _direction(estimate, better), "", decisive)


def _direction(estimate: CrossedInterval, better: int) -> Verdict:
    return "helps" if estimate.mean * better > 0 else "hurts"


def _cannot_conclude(pairs: PairedDifferences) -> str:
    """Return why these differences support no conclusion, whatever their size; empty if they do."""
    if pairs.missing_classes:
        return f"only one of the two arms was scored on {_listed(pairs.missing_classes)}"
    if pairs.missing_cases:
        return f"only one of the two arms has scores of {_listed(pairs.missing_cases)}"
    lowest, highest = float(pairs.differences.min()), float(pairs.differences.max())
    if lowest == highest == 0:
        return "all differences are zero: both arms have the same scores"
    if len(pairs.differences) > 1 and highest - lowest <= 1e-9 * max(abs(lowest), abs(highest)):
        return "all differences are equal, so chance cannot be estimated"
    return ""


def _not_significant(estimate: CrossedInterval, counted: str) -> str:
    if estimate.p is not None and estimate.p < 1 - LEVEL:
        return f"not beyond chance once {counted} are counted; alone it would be"
    if abs(estimate.mean) > half_width(estimate, 1 - LEVEL):
        return f"{INCLUDES_ZERO}, as a few cases differ much more than the others"
    return INCLUDES_ZERO


def _p_equivalent(estimate: CrossedInterval, margin: float) -> float:
    """Return the p value of two one-sided tests that the difference is within the margin.

    Schuirmann, 1987, https://doi.org/10.1007/BF01068419
    """
    if abs(estimate.mean) >= margin or estimate.standard_error <= 0:
        return 1.0
    return max(p_value(estimate, margin), p_value(estimate, -margin)) / 2


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
