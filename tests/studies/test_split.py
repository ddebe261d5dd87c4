"""Who trains, who tests."""

from pathlib import Path

import pytest

from dimlift.data.case import Case, Dataset
from dimlift.errors import DataError
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


@pytest.mark.parametrize("split", [{"folds": 5}, {"test_cases": 6}])
def test_no_patient_is_on_both_sides(split):
    train, test = split_cases(dataset(20), config(split=split))
    assert train
    assert test
    assert not {case.group for case in train} & {case.group for case in test}
    assert names(train) | names(test) == names(dataset(20).cases)


def test_every_case_is_tested_by_one_fold():
    tested = [split_cases(dataset(20), config(fold=fold))[1] for fold in range(5)]
    assert sum(map(len, tested)) == 20
    assert set.union(*map(names, tested)) == names(dataset(20).cases)


def test_a_fixed_test_set_stays_while_the_seed_draws_training_cases():
    splits = [
        split_cases(dataset(40), config(split={"test_cases": 10, "draw": "seed"}, fraction=8, seed=seed))
        for seed in range(4)
    ]
    assert len({frozenset(names(test)) for _, test in splits}) == 1
    assert len({frozenset(names(train)) for train, _ in splits}) == 4
    assert {len(train) for train, _ in splits} == {8}


def test_the_seed_of_a_run_changes_no_fixed_draw():
    splits = [split_cases(dataset(40), config(fraction=0.25, seed=seed)) for seed in range(3)]
    assert len({frozenset(names(train)) for train, _ in splits}) == 1


def test_a_share_and_a_count_mean_the_same_cases():
    share, _ = split_cases(dataset(20), config(fraction=0.5))
    count, _ = split_cases(dataset(20), config(fraction=8))
    assert names(share) == names(count)


def test_without_a_fold_everybody_trains():
    train, test = split_cases(dataset(4), config(fold=None))
    assert len(train) == 4
    assert not test


@pytest.mark.parametrize(
    ("cases", "changes", "words"),
    [
        (1, {}, "at least two groups"),
        (2, {}, "at least two groups"),
        (20, {"fraction": 99}, "99 training cases, there are 16"),
        (20, {"split": {"test_cases": 20}}, "no case is left to train on"),
    ],
)
def test_too_few_cases_are_refused_with_the_way_out(cases, changes, words):
    with pytest.raises(DataError, match=words):
        split_cases(dataset(cases), config(**changes))
