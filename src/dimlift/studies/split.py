"""Which cases a run trains on and which it is tested on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dimlift.config.sections import SplitSection
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.splits import folds, fraction
from dimlift.errors import DataError
from dimlift.records.json_file import read_json
from dimlift.studies.run_config import TrainConfig


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
    if split.file is not None and config.fold is not None:
        named = set(read_splits(Path(split.file), config.fold)[0])
        pool = [case for case in pool if case.name in named]
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
    if split.file is not None:
        named = read_splits(Path(split.file), fold)[1]
        known = {case.name: case for case in labelled}
        if unknown := [name for name in named if name not in known]:
            raise DataError(
                f"{split.file}: fold {fold} tests {', '.join(unknown[:5])}, which {dataset.root} does not hold with a "
                "label; give the split of this data set"
            )
        return tuple(known[name] for name in named)
    if split.test_cases is not None:
        return fraction(labelled, split.test_cases, split.seed)
    return folds(replace(dataset, cases=labelled), split.folds, split.seed)[fold][1]


def read_splits(path: Path, fold: int) -> tuple[list[str], list[str]]:
    """Training and test cases of a fold of nnU-Net's `splits_final.json`.

    Raises:
        DataError: if it is none, lacks the fold, or has a case on both sides.
    """
    try:
        splits = read_json(path)
        train, test = ([str(name) for name in splits[fold][side]] for side in ("train", "val"))
    except IndexError:
        raise DataError(f"{path} has {len(splits)} folds, counted from 0, but not fold {fold}; lower it") from None
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"{path} is no splits_final.json of nnU-Net ({fault}); it holds a list of "
            '{"train": [names], "val": [names]}'
        ) from fault
    if both := sorted({*train} & {*test}):
        raise DataError(f"{path}: fold {fold} trains and tests on {', '.join(both[:5])}; take them out of one side")
    return train, test
