"""Paired scores of two arms: same training size, cv fold, seed, case and class; only the arm differs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dimlift.records.record import RunRecord
from dimlift.records.train_size import TrainSize


class ScoreKey(NamedTuple):
    """What a score belongs to, apart from the arm."""

    train_size: TrainSize
    fold: int
    seed: int
    case: str
    class_: str


Scores = dict[ScoreKey, float | None]


@dataclass(frozen=True)
class PairedDifferences:
    """Differences of two arms, one for each case and seed.

    Attributes:
        cases: group of each case as an integer; a case without a group is its own group.
        seeds: seed of each difference.
        unpaired: number of scores of either arm without a counterpart, or undefined in one of the two.
        case_names: name of each case or group in `cases`.
        missing_cases: cases that a finished run of one arm has scored and the same run of the other has not.
        missing_classes: classes that only one of the two arms was scored on.
    """

    differences: Float[np.ndarray, " pairs"]
    cases: Int[np.ndarray, " pairs"]
    seeds: Int[np.ndarray, " pairs"]
    unpaired: int
    case_names: tuple[str, ...] = ()
    missing_cases: tuple[str, ...] = ()
    missing_classes: tuple[str, ...] = ()


def collect_scores(records: Iterable[RunRecord], metric: str) -> Scores:
    """Return the scores of one metric in finished records."""
    return {
        ScoreKey(record.train_size, record.fold, record.seed, score.case, score.class_): score.value
        for record in records
        if record.status == "finished"
        for score in record.scores
        if score.metric == metric
    }


def paired_differences(
    arm: Mapping[ScoreKey, float | None],
    reference: Mapping[ScoreKey, float | None],
    groups: Mapping[str, str] | None = None,
) -> PairedDifferences:
    """Return differences arm - reference, averaged over classes and cv folds within each case and seed.

    A class that is undefined in one of the two arms (both masks empty) is excluded from both, so that a difference
    never compares different classes.

    Args:
        groups: group of each case that has one.
    """
    differences: dict[tuple[str, int], list[float]] = {}
    for key in arm.keys() & reference.keys():
        one, other = arm[key], reference[key]
        if one is not None and other is not None:
            differences.setdefault((key.case, key.seed), []).append(one - other)
    paired = sum(map(len, differences.values()))
    order = sorted(differences)
    names, numbers = np.unique([(groups or {}).get(case) or case for case, _ in order] or [""], return_inverse=True)
    missing_cases, missing_classes = _missing(arm, reference)
    return PairedDifferences(
        np.array([sum(differences[pair]) / len(differences[pair]) for pair in order], float),
        numbers[: len(order)],
        np.array([seed for _, seed in order], int),
        len(arm) + len(reference) - 2 * paired,
        tuple(map(str, names)) if order else (),
        missing_cases,
        missing_classes,
    )


def _missing(
    arm: Mapping[ScoreKey, float | None], reference: Mapping[ScoreKey, float | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return cases and classes that only one arm was scored on, in the runs that both arms have finished."""
    runs = [{(key.train_size, key.fold, key.seed) for key in scores} for scores in (arm, reference)]
    shared = runs[0] & runs[1]
    one, other = (
        {key for key in scores if (key.train_size, key.fold, key.seed) in shared} for scores in (arm, reference)
    )
    classes = {key.class_ for key in one} ^ {key.class_ for key in other}
    cases = {key.case for key in one ^ other if key.class_ not in classes}
    return tuple(sorted(cases)), tuple(sorted(classes))
