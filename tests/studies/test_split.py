"""Training and test cases of a run."""

from pathlib import Path

import pytest

from dimlift.data.case import Case, Dataset
from dimlift.errors import ConfigError, DataError
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.split import split_cases


def dataset(count: int, per_patient: int = 2) -> Dataset:
    cases = tuple(
        Case(f"c{n:02d}", (Path(f"{n}.nii"),), Path(f"l{n}.nii"), f"p{n // per_patient}") for n in range(count)
    )
    return Dataset("toy", Path(), cases, ("T1",), {"a": 1})


def config(**changes) -> TrainConfig:
    raw = {"dataset": {"path": "x"}, "arm": {"method": "unet"}, "budget": {"steps": 1}}
    return parse({**raw, **changes}, TrainConfig)


def names(cases) -> set[str]:
    return {case.name for case in cases}


@pytest.mark.parametrize("split", [{"folds": 5}, {"num_test": 6}])
def test_split_cases_keeps_patients_on_one_side(split):
    train, test = split_cases(dataset(20), config(split=split))
    assert train
    assert test
    assert not {case.group for case in train} & {case.group for case in test}
    assert names(train) | names(test) == names(dataset(20).cases)


def test_split_cases_tests_every_case_in_one_fold():
    tested = [split_cases(dataset(20), config(fold=fold))[1] for fold in range(5)]
    assert sum(map(len, tested)) == 20
    assert set.union(*map(names, tested)) == names(dataset(20).cases)


def test_subset_seed_run_changes_training_cases_only():
    splits = [
        split_cases(dataset(40), config(split={"num_test": 10, "subset_seed": "run"}, train_count=8, seed=seed))
        for seed in range(4)
    ]
    assert len({frozenset(names(test)) for _, test in splits}) == 1
    assert len({frozenset(names(train)) for train, _ in splits}) == 4
    assert {len(train) for train, _ in splits} == {8}


def test_subset_seed_split_ignores_seed_of_run():
    splits = [split_cases(dataset(40), config(train_fraction=0.25, seed=seed)) for seed in range(3)]
    assert len({frozenset(names(train)) for train, _ in splits}) == 1


def test_train_fraction_and_train_count_select_same_cases():
    by_fraction, _ = split_cases(dataset(20), config(train_fraction=0.5))
    by_count, _ = split_cases(dataset(20), config(train_count=8))
    assert names(by_fraction) == names(by_count)


def test_train_count_one_is_one_case_and_train_fraction_one_is_all():
    one, _ = split_cases(dataset(20, per_patient=1), config(train_count=1))
    every, _ = split_cases(dataset(20, per_patient=1), config(train_fraction=1))
    default, _ = split_cases(dataset(20, per_patient=1), config())
    assert len(one) == 1
    assert names(every) == names(default)
    assert len(every) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_count": 1, "train_fraction": 0.5}, "at most one of 'train_fraction' and 'train_count'"),
        ({"train_count": 0}, "'train_count' must be at least 1, found 0"),
        ({"train_fraction": 8}, "'train_fraction' must be at most 1, found 8"),
    ],
)
def test_train_size_keys_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_fold_none_trains_on_all_cases():
    train, test = split_cases(dataset(4), config(fold=None))
    assert len(train) == 4
    assert not test


@pytest.mark.parametrize(
    ("cases", "changes", "message"),
    [
        (1, {}, "at least two groups"),
        (2, {}, "at least two groups"),
        (20, {"train_count": 99}, "train_count is 99, but there are 16 training cases"),
        (20, {"split": {"num_test": 20}}, "no training case is left"),
    ],
)
def test_split_cases_rejects_too_few_cases(cases, changes, message):
    with pytest.raises(DataError, match=message):
        split_cases(dataset(cases), config(**changes))
