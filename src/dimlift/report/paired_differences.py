"""Scores of two arms, paired: same label fraction, fold, seed, case and class; only the arm differs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dimlift.records.record import Record

Key = tuple[float, int, int, str, str]
"""(fraction, fold, seed, case, class)"""


@dataclass(frozen=True)
class Pairs:
    """Paired differences, one for each case and seed.

    Attributes:
        cases: the case's group as an integer; cases without a group stand for themselves.
        seeds: the seed's number.
        unpaired: scores of either arm that found no partner or were undefined in one of the two.
    """

    differences: Float[np.ndarray, " cells"]
    cases: Int[np.ndarray, " cells"]
    seeds: Int[np.ndarray, " cells"]
    unpaired: int


def scores_of(records: Iterable[Record], metric: str, class_: str | None = None) -> dict[Key, float | None]:
    """The scores of finished records by what they belong to; of one class, or of all."""
    return {
        (record.fraction, record.fold, record.seed, score.case, score.class_): score.value
        for record in records
        if record.status == "finished"
        for score in record.scores
        if score.metric == metric and class_ in (None, score.class_)
    }


def pair(
    arm: Mapping[Key, float | None], reference: Mapping[Key, float | None], groups: Mapping[str, str] | None = None
) -> Pairs:
    """Differences arm - reference, averaged over classes and folds within each case and seed.

    A class that is undefined in one of the two arms (both masks empty) is left out for both, so that a difference
    never compares different classes.

    Args:
        groups: the group of a case, where it has one.
    """
    cells: dict[tuple[str, int], list[float]] = {}
    for key in arm.keys() & reference.keys():
        one, other = arm[key], reference[key]
        if one is not None and other is not None:
            cells.setdefault((key[3], key[2]), []).append(one - other)
    paired = sum(map(len, cells.values()))
    order = sorted(cells)
    owners = [(groups or {}).get(case) or case for case, _ in order]
    return Pairs(
        np.array([sum(cells[cell]) / len(cells[cell]) for cell in order], float),
        np.unique(owners, return_inverse=True)[1] if owners else np.array([], int),
        np.array([seed for _, seed in order], int),
        len(arm) + len(reference) - 2 * paired,
    )
