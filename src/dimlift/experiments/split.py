"""Which cases a run trains on and which it is tested on."""

from collections.abc import Sequence
from dataclasses import replace

from dimlift.data.cases import Case, Dataset
from dimlift.data.splits import folds, fraction
from dimlift.errors import DataError
from dimlift.experiments.config import TrainConfig
from dimlift.experiments.sections import SplitSection


def split_cases(dataset: Dataset, config: TrainConfig) -> tuple[list[Case], list[Case]]:
    """Training and test cases of a run. No group lies on both sides.

    Raises:
        DataError: if one side has no cases.
    """
    labelled = [case for case in dataset.cases if case.label is not None]
    if not labelled or (config.fold is not None and len({case.group for case in labelled}) < 2):
        raise DataError(
            f"{dataset.root} holds {len(labelled)} labelled case(s) of {len({c.group for c in labelled})} group(s); "
            "training and testing need at least two groups: add cases, or set fold=null to train without a test"
        )
    split = config.split
    test = () if config.fold is None else held_out_cases(dataset, split, config.fold)
    held_out = {case.group for case in test}
    pool: Sequence[Case] = [case for case in labelled if case.group not in held_out]
    if not pool or len(test) == len(labelled):
        raise DataError(f"no case is left to train on: {len(test)} of {len(labelled)} test; lower split.test_cases")
    draw = config.seed if split.draw == "seed" else split.seed
    share = config.fraction if config.fraction <= 1 else int(config.fraction)
    if share > 1 and share > len(pool):
        raise DataError(f"fraction asks for {share} training cases, there are {len(pool)}; lower it")
    train = pool if share == 1.0 and isinstance(share, float) else fraction(pool, share, draw)
    return list(train), list(test)


def held_out_cases(dataset: Dataset, split: SplitSection, fold: int) -> tuple[Case, ...]:
    """The labelled cases a split tests on."""
    labelled = tuple(case for case in dataset.cases if case.label is not None)
    if split.test_cases is not None:
        return fraction(labelled, split.test_cases, split.seed)
    return folds(replace(dataset, cases=labelled), split.folds, split.seed)[fold][1]
