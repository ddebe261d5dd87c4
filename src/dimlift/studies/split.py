"""Training and test cases of a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from dimlift.config.sections import SplitSection
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.splits import cv_folds, subsample_cases
from dimlift.errors import DataError
from dimlift.records.card_schema import Name, listed_faults
from dimlift.records.json_file import read_json
from dimlift.records.record_schema import FileSection
from dimlift.studies.run_config import TrainConfig


class FoldEntry(FileSection):
    """A fold in nnU-Net's `splits_final.json`."""

    train: list[Name]
    val: list[Name]


_SPLITS = TypeAdapter(Annotated[list[FoldEntry], Field(max_length=10_000)])


def split_cases(dataset: Dataset, config: TrainConfig) -> tuple[list[Case], list[Case]]:
    """Return the training and test cases of a run; no group is on both sides.

    Raises:
        DataError: if one side has no cases, or there are fewer training cases than `train_count`.
    """
    labelled = [case for case in dataset.cases if case.label is not None]
    if not labelled or (config.fold is not None and len({case.group for case in labelled}) < 2):
        raise DataError(
            f"{dataset.root} holds {len(labelled)} labelled case(s) of {len({c.group for c in labelled})} group(s); "
            "training and testing need at least two groups: add cases, or set fold=null to train without a test"
        )
    split = config.split
    test = () if config.fold is None else held_out_cases(dataset, split, config.fold)
    test_groups = {case.group for case in test}
    pool: Sequence[Case] = [case for case in labelled if case.group not in test_groups]
    if split.file is not None and config.fold is not None:
        names = set(read_splits(Path(split.file), config.fold)[0])
        pool = [case for case in pool if case.name in names]
    if not pool and split.file is not None and config.fold is not None:
        raise DataError(f"{split.file}: fold {config.fold} trains on no case of {dataset.root}; list some")
    if not pool or len(test) == len(labelled):
        raise DataError(
            f"no training case is left: {len(test)} of {len(labelled)} are test cases; lower split.num_test"
        )
    size = config.train_size
    if size.count is not None and size.count > len(pool):
        raise DataError(f"train_count is {size.count}, but there are {len(pool)} training cases; lower it")
    if size.fraction == 1:
        return list(pool), list(test)
    seed = config.seed if split.subset_seed == "run" else split.seed
    return list(subsample_cases(pool, fraction=size.fraction, count=size.count, seed=seed)), list(test)


def held_out_cases(dataset: Dataset, split: SplitSection, fold: int) -> tuple[Case, ...]:
    """Return the labelled test cases of a cv fold.

    Raises:
        DataError: if the split file names cases that the dataset does not have.
    """
    labelled = tuple(case for case in dataset.cases if case.label is not None)
    if split.file is not None:
        names = read_splits(Path(split.file), fold)[1]
        known = {case.name: case for case in labelled}
        if unknown := [name for name in names if name not in known]:
            raise DataError(
                f"{split.file}: fold {fold} tests {', '.join(unknown[:5])}, but {dataset.root} has no such labelled "
                "case; use the split file of this dataset"
            )
        return tuple(known[name] for name in names)
    if split.num_test is not None:
        return subsample_cases(labelled, count=split.num_test, seed=split.seed)
    return cv_folds(replace(dataset, cases=labelled), split.folds, split.seed)[fold][1]


def read_splits(path: Path, fold: int) -> tuple[list[str], list[str]]:
    """Return the names of training and test cases of a fold of nnU-Net's `splits_final.json`.

    Raises:
        DataError: if it is not such a file, lacks the fold, or has a case on both sides.
    """
    try:
        splits = _SPLITS.validate_python(read_json(path))
    except (OSError, ValueError) as error:
        said = listed_faults(error) if isinstance(error, ValidationError) else error
        raise DataError(
            f"{path} is not a splits_final.json of nnU-Net ({said}); expected is a list of "
            '{"train": [names], "val": [names]}'
        ) from error
    if fold >= len(splits):
        raise DataError(f"{path} has {len(splits)} folds, counted from 0, but no fold {fold}; lower it")
    train, test = splits[fold].train, splits[fold].val
    if twice := [name for names in (train, test) for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: fold {fold} lists {', '.join(twice[:5])} twice; list each case once")
    if both := sorted({*train} & {*test}):
        raise DataError(f"{path}: fold {fold} trains and tests on {', '.join(both[:5])}; remove them from one side")
    return train, test
