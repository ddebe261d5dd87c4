"""Training and test cases: a patient is never on both sides, and the same seed always gives the same split."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.model_selection import KFold, StratifiedGroupKFold

from dimlift.data.case import Case, Dataset
from dimlift.errors import DataError

Split = tuple[tuple[Case, ...], tuple[Case, ...]]


def cv_folds(dataset: Dataset, k: int = 5, seed: int = 0) -> list[Split]:
    """Split the cases into k cross-validation folds by patient, stratified by class for classification.

    Returns:
        k pairs of training and test cases, each in the order of the dataset.

    Raises:
        DataError: if there is only one case, or there are fewer patients, or cases of every class, than folds.
    """
    cases = dataset.cases
    groups = sorted({case.group for case in cases})
    if k < 2:
        raise DataError(f"{k} folds requested; at least 2 are needed to have both training and test cases")
    if len(cases) < 2:
        raise DataError(
            f"{dataset.name} has {len(cases)} case, which cannot be split into training and test; "
            "add cases of other patients"
        )
    if len(groups) < k:
        raise DataError(
            f"{dataset.name} has {len(groups)} patient{'s' if len(groups) != 1 else ''} (groups) for {k} folds; "
            f"{'add patients' if len(groups) < 2 else f'use at most {len(groups)} (split.folds={len(groups)})'}"
        )
    if dataset.task == "classification" and all(isinstance(case.label, int) for case in cases):
        return _stratified(cases, k, seed)
    parts = KFold(k, shuffle=True, random_state=seed).split(np.arange(len(groups)))
    return [_split_by_group(cases, {groups[index] for index in test}) for _, test in parts]


def subsample_cases(
    cases: Sequence[Case], *, fraction: float | None = None, count: int | None = None, seed: int = 0
) -> tuple[Case, ...]:
    """Return a random subset of training cases, whole patients at a time; subsets of the same seed are nested.

    Args:
        cases: the training cases.
        fraction: size of the subset as a fraction of the cases, above 0 and up to 1; None if `count` is set.
        count: number of cases; None if `fraction` is set.
        seed: random seed.

    Returns:
        At least that many cases in their original order; a patient with several cases may add a few.

    Raises:
        DataError: if the subset is empty, or larger than the number of cases.
    """
    if fraction is not None and not 0 < fraction <= 1:
        raise DataError(f"a fraction of {fraction} of the training cases requested; use a number above 0 and up to 1")
    size = count if fraction is None else max(1, round(fraction * len(cases)))
    if size is None or not 0 < size <= len(cases):
        raise DataError(f"{size} of {len(cases)} training cases requested; use a number from 1 to {len(cases)}")
    groups = sorted({case.group for case in cases})
    chosen: set[str] = set()
    total = 0
    for index in np.random.default_rng(seed).permutation(len(groups)):
        if total >= size:
            break
        chosen.add(groups[index])
        total += sum(case.group == groups[index] for case in cases)
    return tuple(case for case in cases if case.group in chosen)


class LabelledSample(Protocol):
    """A preprocessed sample with a label."""

    @property
    def label(self) -> Any:
        """Class index of the case, or of every voxel or point."""

    @property
    def values(self) -> tuple[int | float, ...]:
        """Every label that occurs."""


def require_classes(samples: Sequence[LabelledSample], classes: dict[str, int]) -> None:
    """Raise if a class occurs in no training case, because a network cannot learn it.

    Args:
        samples: the training samples.
        classes: name to class index (`Preprocessing.class_indices`, or `Dataset.labels` for classification).

    Raises:
        DataError: naming the classes.
    """
    present = {value for sample in samples for value in sample.values}
    absent = [name for name, index in classes.items() if index not in present]
    if absent:
        names = ", ".join(repr(name) for name in absent)
        raise DataError(
            f"the class{'es' if len(absent) > 1 else ''} {names} never occur{'' if len(absent) > 1 else 's'} in the "
            f"{len(samples)} training cases; add a training case with it, use another seed or more folds, "
            "or remove it from the labels"
        )


def balanced_class_weights(samples: Sequence[LabelledSample], num_classes: int) -> tuple[float, ...]:
    """Return inverse-frequency class weights, total / (num_classes * count), counted in cases, voxels or points."""
    counts = [sum(int(np.sum(np.asarray(sample.label) == i)) for sample in samples) for i in range(num_classes)]
    return tuple(sum(counts) / (num_classes * max(count, 1)) for count in counts)


def _split_by_group(cases: Sequence[Case], test: set[str]) -> Split:
    return tuple(case for case in cases if case.group not in test), tuple(case for case in cases if case.group in test)


def _stratified(cases: Sequence[Case], k: int, seed: int) -> list[Split]:
    largest = max(Counter(case.label for case in cases).values())
    if largest < k:
        raise DataError(
            f"the largest class has {largest} case{'s' if largest != 1 else ''}, but {k} folds need one each; "
            f"{'add cases' if largest < 2 else f'use at most {largest} (split.folds={largest})'}"
        )
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(cases)), [case.label for case in cases], [case.group for case in cases])
    return [_split_by_group(cases, {cases[index].group for index in test}) for _, test in parts]
