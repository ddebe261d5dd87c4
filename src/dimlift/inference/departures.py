"""Warn of, or refuse, a case that lies outside the range of the training cases."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

from dimlift.data.issue import Issue
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.errors import RunError


class OutsideTrainingRangeWarning(UserWarning):
    """A case, or what was predicted for it, lies outside the range of the training cases."""


def departure_issue(sentences: Sequence[str], source: str) -> Issue:
    """Return the error that `strict` raises for a case outside the range of the training cases.

    Args:
        sentences: `TrainingRange.departures` or `TrainingRange.foreground_departures`; not empty.
        source: file of the case.
    """
    fix = "check the case, train on cases like it, or predict without strict (--strict)"
    return Issue(source, "error", f"lies outside what training held: {'; '.join(sentences)}", fix)


def report_departures(sentences: Sequence[str], source: str, strict: bool) -> None:
    """Issue one warning for all departures of a case.

    Raises:
        DataError: under `strict`.
    """
    if not sentences:
        return
    if strict:
        raise departure_issue(sentences, source).as_error()
    text = f"{source}: lies outside what training held: {'; '.join(sentences)}"
    warnings.warn(text, OutsideTrainingRangeWarning, stacklevel=2)


def require_training_range(strict: bool) -> None:
    """Raises: RunError, under `strict` for weights whose card states no training range."""
    if strict:
        raise RunError(
            "strict (--strict) compares cases with the training cases, but the weights card states no training_range; "
            "train again with this version, or predict without strict"
        )


def array_facts(facts: InputFacts | None, spacing: Sequence[float] | None) -> InputFacts | None:
    """Return the facts of an array: its orientation is unknown, and without spacing its millimetres are."""
    if facts is None:
        return None
    known = {name: value for name, value in facts.amounts.items() if spacing is not None or not name.endswith(" in mm")}
    return replace(facts, amounts=known, orientation="")
