"""Who is trained on and who is tested: patients never on both sides, the same seed always the same split."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.model_selection import KFold, StratifiedGroupKFold

from dimlift.data.case import Case, Dataset
from dimlift.errors import DataError

Split = tuple[tuple[Case, ...], tuple[Case, ...]]


def folds(dataset: Dataset, k: int = 5, seed: int = 0) -> list[Split]:
    """Cut the cases into k parts by patient; each part is tested once, with the others to train on.

    Classes are spread evenly over the parts where the task has one class per case.

    Returns:
        k pairs of training and test cases, each in the dataset's order.

    Raises:
        DataError: if there is one case or patient only, or there are fewer patients, or cases of any class, than folds.
    """
    cases = dataset.cases
    groups = sorted({case.group for case in cases})
    if k < 2:
        raise DataError(f"{k} folds asked for; at least 2 are needed to have both training and test cases")
    if len(cases) < 2:
        raise DataError(
            f"{dataset.name} has {len(cases)} case: one case cannot be split into training and test; "
            "add cases of other patients"
        )
    if len(groups) < k:
        raise DataError(
            f"{dataset.name} has {len(groups)} patient{'s' if len(groups) != 1 else ''} (groups) for {k} folds; "
            f"{'add patients' if len(groups) < 2 else f'ask for at most {len(groups)} (split.folds={len(groups)})'}"
        )
    if dataset.task == "classification" and all(isinstance(case.label, int) for case in cases):
        return _stratified(cases, k, seed)
    parts = KFold(k, shuffle=True, random_state=seed).split(np.arange(len(groups)))
    return [_by_group(cases, {groups[index] for index in test}) for _, test in parts]


def fraction(cases: Sequence[Case], share: float | int, seed: int = 0) -> tuple[Case, ...]:
    """A part of the training cases, whole patients at a time. A smaller part of the same seed lies inside a larger one.

    Args:
        share: above 0 and up to 1.0 as a float, a share of the cases; as an int, a number of cases.

    Returns:
        at least that many cases, in their own order; a patient with several cases may make it a few more.

    Raises:
        DataError: if it is not positive, or more than there are.
    """
    wanted = share if isinstance(share, int) else max(1, round(share * len(cases)))
    if share <= 0 or wanted > len(cases):
        raise DataError(
            f"{share} of {len(cases)} training cases asked for; "
            f"give a share above 0 and up to 1.0, or a whole number from 1 to {len(cases)}"
        )
    groups = sorted({case.group for case in cases})
    chosen: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(groups)):
        if count >= wanted:
            break
        chosen.add(groups[index])
        count += sum(case.group == groups[index] for case in cases)
    return tuple(case for case in cases if case.group in chosen)


class Labelled(Protocol):
    """A case, in memory or packed on disk."""

    @property
    def label(self) -> Any:
        """Index of its class, or of the class of every voxel or point."""

    @property
    def values(self) -> tuple[int | float, ...]:
        """Every label that occurs."""


def require_classes(samples: Sequence[Labelled], classes: dict[str, int]) -> None:
    """Stop if a class occurs in no training case: a network cannot learn it, its score would be a silent zero.

    Args:
        classes: name to class index (`Preprocessing.class_indices`, or `Dataset.labels` for classification).

    Raises:
        DataError: naming the classes.
    """
    seen = {value for sample in samples for value in sample.values}
    absent = [name for name, index in classes.items() if index not in seen]
    if absent:
        names = ", ".join(repr(name) for name in absent)
        raise DataError(
            f"the class{'es' if len(absent) > 1 else ''} {names} never occur{'' if len(absent) > 1 else 's'} in the "
            f"{len(samples)} training cases; add a training case that shows it, use another seed or more folds, "
            "or take it out of the labels"
        )


def balanced_weights(samples: Sequence[Labelled], classes: int) -> tuple[float, ...]:
    """Weights that make every class count alike: all / (classes * those of the class), counted in cases or voxels."""
    counts = [sum(int(np.sum(np.asarray(sample.label) == index)) for sample in samples) for index in range(classes)]
    return tuple(sum(counts) / (classes * max(count, 1)) for count in counts)


def _by_group(cases: Sequence[Case], test: set[str]) -> Split:
    return tuple(case for case in cases if case.group not in test), tuple(case for case in cases if case.group in test)


def _stratified(cases: Sequence[Case], k: int, seed: int) -> list[Split]:
    most = max(Counter(case.label for case in cases).values())
    if most < k:
        raise DataError(
            f"the largest class has {most} case{'s' if most != 1 else ''} for {k} folds that all hold it; "
            f"{'add cases' if most < 2 else f'ask for at most {most} (split.folds={most})'}"
        )
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(cases)), [case.label for case in cases], [case.group for case in cases])
    return [_by_group(cases, {cases[index].group for index in test}) for _, test in parts]
