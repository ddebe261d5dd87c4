"""Splits by patient: no patient on both sides, every case tested once, deterministic for a seed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.splits import cv_folds, require_classes, subsample_cases
from dimlift.data.orientation import Reorientation
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.errors import DataError


def make_dataset(groups: list[int], task: str = "segmentation") -> Dataset:
    cases = tuple(
        Case(f"c{index}", (Path(f"{index}.nii.gz"),), group % 2 if task == "classification" else None, f"p{group}")
        for index, group in enumerate(groups)
    )
    return Dataset("set", Path(), cases, ("T1",), {"no": 0, "yes": 1}, task)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=6, max_size=40).filter(lambda groups: len(set(groups)) >= 5),
    k=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_cv_folds_split_by_patient(groups, k, seed):
    dataset = make_dataset(groups)
    parts = cv_folds(dataset, k, seed)
    assert parts == cv_folds(dataset, k, seed)
    tested = [case.name for _, test in parts for case in test]
    assert sorted(tested) == sorted(case.name for case in dataset.cases)
    for train, test in parts:
        assert train
        assert test
        assert not {case.group for case in train} & {case.group for case in test}
        assert len(train) + len(test) == len(dataset.cases)


def test_cv_folds_depend_on_seed():
    dataset = make_dataset(list(range(20)))
    assert cv_folds(dataset, 4, 0) != cv_folds(dataset, 4, 1)


def test_cv_folds_are_stratified():
    dataset = make_dataset(list(range(20)), task="classification")
    for _, test in cv_folds(dataset, 5, 0):
        assert sorted(case.label for case in test) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("groups", "k", "message"),
    [
        ([0], 2, "1 case, which cannot be split into training and test"),
        ([0, 0, 0], 2, "1 patient .*add patients"),
        ([0, 1, 2], 5, r"at most 3 \(split.folds=3\)"),
        ([0, 1, 2], 1, "at least 2"),
    ],
)
def test_cv_folds_reject_impossible_splits(groups, k, message):
    with pytest.raises(DataError, match=message):
        cv_folds(make_dataset(groups), k)


def test_cv_folds_reject_too_many_folds():
    with pytest.raises(DataError, match=r"the largest class has 3 cases, but 4 folds.*at most 3 \(split.folds=3\)"):
        cv_folds(make_dataset(list(range(6)), task="classification"), 4)


@settings(max_examples=50, deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=2, max_size=30), seed=st.integers(0, 99), data=st.data())
def test_subsample_cases_is_nested(groups, seed, data):
    cases = make_dataset(groups).cases
    few = data.draw(st.integers(1, len(cases)))
    many = data.draw(st.integers(few, len(cases)))
    small, large = (subsample_cases(cases, count=count, seed=seed) for count in (few, many))
    assert set(small) <= set(large)
    assert len(small) >= few
    for part in (small, large):
        kept = {case.group for case in part}
        assert all((case.group in kept) == (case in part) for case in cases)


def test_subsample_cases_accepts_fraction_or_count():
    cases = make_dataset(list(range(10))).cases
    assert len(subsample_cases(cases, fraction=0.3)) == 3
    assert subsample_cases(cases, fraction=1.0) == cases
    assert len(subsample_cases(cases, count=1)) == 1
    assert len(subsample_cases(cases, fraction=0.001)) == 1
    for count in (0, -1, 11):
        with pytest.raises(DataError, match="from 1 to 10"):
            subsample_cases(cases, count=count)
    for fraction in (0.0, 1.5):
        with pytest.raises(DataError, match="up to 1"):
            subsample_cases(cases, fraction=fraction)


def make_sample(label: object) -> Sample:
    reorientation = Reorientation(((0, 1), (1, 1), (2, 1)), "z")
    geometry = Geometry(reorientation, (1, 1, 2), (1, 1, 2), (1.0, 1.0, 1.0), np.eye(4))
    return Sample("a", np.zeros((1, 1, 1, 2), np.float32), label, geometry)  # type: ignore[arg-type]


def test_require_classes_names_absent_classes():
    samples = [make_sample(np.array([[[0, 1]]], np.int16)), make_sample(np.array([[[-1, 1]]], np.int16))]
    require_classes(samples, {"liver": 1})
    with pytest.raises(DataError, match=r"the class 'tumour' never occurs in the 2 training cases; .*more folds"):
        require_classes(samples, {"liver": 1, "tumour": 2})
    require_classes([make_sample(0), make_sample(1)], {"no": 0, "yes": 1})
    with pytest.raises(DataError, match="'yes'"):
        require_classes([make_sample(0)], {"no": 0, "yes": 1})
