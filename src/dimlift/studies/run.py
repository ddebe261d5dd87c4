"""One run, from a configuration to its record: read data, train, save, predict, score."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dimlift.data.case import Dataset
from dimlift.evaluation.evaluate import score_cases
from dimlift.inference.modality.base import RunData
from dimlift.inference.modality.registry import modality_of
from dimlift.inference.predictor import Predictor
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord, Score
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import make_run_record
from dimlift.studies.split import split_cases
from dimlift.training.distributed import ProcessGroup
from dimlift.training.energy import ResourceUsage, total_usage
from dimlift.training.fit import FitResult, fit
from dimlift.training.initialise import (
    init_from_weights,
    pretraining_cost,
    require_no_leakage,
    require_same_up_axis,
)
from dimlift.training.memory import PeakMemory
from dimlift.training.reproducibility import reproducibility_facts

PRIMARY_METRICS = ("dice", "iou", "accuracy", "absolute_error")


@dataclass(frozen=True)
class RunPaths:
    """Output folders of a run.

    Attributes:
        weights: the weights folder.
        predictions: label maps of the test cases.
        checkpoints: training state, deleted once the record is written.
        cache: frozen features, shared by the runs of a study.
    """

    records: Path
    weights: Path
    predictions: Path
    checkpoints: Path
    cache: Path


def execute_run(
    config: TrainConfig,
    dataset: Dataset,
    paths: RunPaths,
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> RunRecord:
    """Execute one run, or return the record of a finished one.

    Args:
        group: the processes that execute this run; process 0 writes the files.

    Raises:
        DimliftError: if the run fails; no record is written then.
    """
    run_id = config.run_id(dataset.manifest_hash())
    if (record := finished_record(paths, run_id)) is not None:
        shutil.rmtree(paths.checkpoints, ignore_errors=True)  # the process was killed between the record and this line
        progress(Event("skip", config.name, 1.0, record.steps, message="already finished"))
        return record
    with torch_threads(config.training.num_threads):
        memory = PeakMemory()
        data = load_run_data(config, dataset, progress, group)
        local_cost = ResourceUsage()
        predictor, result, feature_seconds = train_run(config, data, paths, progress, group)
        cost = total_usage(group.gather_objects([local_cost.measure()]))
        if group.is_main:
            predictor.save(paths.weights)
        start = time.perf_counter()
        scores = score_cases(predictor, data.test, paths.predictions, config.name, progress, group)
        report = predictor.method.report()
        record = make_run_record(
            config,
            run_id,
            "finished",
            steps=result.steps,
            seconds=result.seconds,
            peak_bytes=memory.bytes(),
            history=result.history,
            scores=scores,
            extra={
                "prediction_seconds": time.perf_counter() - start,
                "feature_seconds": feature_seconds,
                **cost,
                "training_cases": [case.name for case in data.train],
                **data.facts,
                "parameters": sum(p.numel() for p in predictor.method.parameters() if p.requires_grad),
                "threads": torch.get_num_threads(),
                "reproducibility": reproducibility_facts(
                    config.budget, config.loop, config.seed, dataset.manifest_hash()
                ),
                **report,
                "notes": [*data.notes, *result.notes, *report.get("notes", ())],
                **({"processes": group.world_size} if group.world_size > 1 else {}),
                **({"pretraining": pretraining_cost(Path(config.arm.init_from))} if config.arm.init_from else {}),
            },
        )
    if group.is_main:
        record.save(paths.records)
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    progress(Event("done", config.name, 1.0, result.steps, message=run_summary(record)))
    return record


def finished_record(paths: RunPaths, run_id: str) -> RunRecord | None:
    """Return the record of a finished run, or None."""
    path = paths.records / f"{run_id}.json"
    return record if path.is_file() and (record := RunRecord.load(path)).status == "finished" else None


def load_run_data(
    config: TrainConfig,
    dataset: Dataset,
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> RunData:
    """Split the dataset, fit preprocessing on the training cases, and read them.

    Raises:
        DataError: if a class never occurs in the training cases.
    """
    train, test = split_cases(dataset, config)
    return modality_of(config).load_data(config, dataset, train, test, progress, group)


def train_run(
    config: TrainConfig,
    data: RunData,
    paths: RunPaths,
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> tuple[Predictor, FitResult, float]:
    """Build the arm and train it.

    Returns:
        The trained predictor, the result of training, and the seconds of feature extraction.
    """
    modality, training = modality_of(config), config.loop
    with torch.random.fork_rng():
        torch.manual_seed(config.init_seed)
        method = modality.build(config.arm, data.task)
    notes = list(method.notes)
    if config.arm.init_from is not None:
        require_no_leakage(Path(config.arm.init_from), data.test, modality.content_hashes)
        require_same_up_axis(Path(config.arm.init_from), config.point_clouds.up_axis)
        notes.append(
            init_from_weights(method.trainable_network(), Path(config.arm.init_from), config.arm.accepts_weight)
        )
    bfloat16 = training.precision == "bf16"
    predictor = Predictor(
        config.arm, data.task, data.preprocessing, method, training.sw_overlap, bfloat16, paths.cache,
        data.training_range,
    )  # fmt: skip
    batches = modality.make_batches(config, data, method, paths.cache, progress, group)
    validates = training.val_interval and data.test
    result = fit(
        method,
        batches.batch_at,
        budget=config.budget,
        training=training,
        seed=config.init_seed,
        arm=config.name,
        seconds_before=batches.seconds,
        checkpoints=paths.checkpoints,
        validate=_validation(config, predictor, data, group) if validates else None,
        cases_at=batches.cases_at,
        progress=progress,
        group=group,
    )
    result.notes[:0] = notes
    return predictor, result, batches.seconds


def run_summary(record: RunRecord) -> str:
    """Return steps, time and primary score of a finished run in one line."""
    score = primary_score(record.scores)
    return f"{record.steps} steps in {record.seconds:.0f} s" + (f", {score[0]} {score[1]:.3f}" if score else "")


def primary_score(scores: Sequence[Score]) -> tuple[str, float] | None:
    """Return name and mean, over cases and classes, of the first metric that was computed."""
    for metric in PRIMARY_METRICS:
        values = [s.value for s in scores if s.metric == metric and s.value is not None]
        if values:
            return metric, float(np.mean(values))
    return None


def _validation(
    config: TrainConfig, predictor: Predictor, data: RunData, group: ProcessGroup
) -> Callable[[nn.Module], dict[str, float]]:
    def validate(method: nn.Module) -> dict[str, float]:
        current = replace(predictor, method=method)  # type: ignore[arg-type]  # `fit` returns the same class
        scores = score_cases(current, data.test, None, config.name, no_progress, group)
        score = primary_score(scores)
        return {} if score is None else {score[0]: score[1]}

    return validate


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Set the number of torch threads inside the block; None keeps the current number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
