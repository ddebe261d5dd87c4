"""One cell of a study, from a configuration to its record: read, train, save, predict, score."""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dimlift.data.case import Dataset
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record, Score
from dimlift.studies.modality.dispatch import domain_of
from dimlift.studies.modality.protocol import Material, TrainedNetwork
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import cell_record
from dimlift.training.distributed import Team
from dimlift.training.energy import Cost, cost_of_all
from dimlift.training.fit import Fit, fit
from dimlift.training.initialise import pretraining_cost, require_unseen, start_from
from dimlift.training.memory import PeakMemory
from dimlift.training.reproducibility import facts


@dataclass(frozen=True)
class Places:
    """Where a cell leaves what it makes.

    Attributes:
        weights: the weights folder.
        predictions: folder of the label maps of the test cases.
        checkpoints: training state, gone once the record is written.
        cache: borrowed features, shared by the cells of a study.
    """

    records: Path
    weights: Path
    predictions: Path
    checkpoints: Path
    cache: Path


def run_cell(
    config: TrainConfig,
    dataset: Dataset,
    places: Places,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> Record:
    """Run one cell, or give back the record it has already.

    Args:
        together: the processes that run this cell; process 0 writes, the others help.

    Raises:
        DimliftError: whatever stops it; no record is written then.
    """
    cell = config.cell(dataset.manifest_hash())
    if (record := finished_record(places, cell)) is not None:
        shutil.rmtree(places.checkpoints, ignore_errors=True)  # killed between the record and this
        progress(Event("skip", config.name, 1.0, record.steps, message="already finished"))
        return record
    with computing_threads(config.training.threads):
        memory = PeakMemory()
        material = read_material(config, dataset, progress, together)
        cost = Cost()
        trained, result, feature_seconds = train_cell(config, material, places, progress, together)
        spent = cost_of_all(together.gather_lists([cost.facts()]))
        if together.leads:
            trained.save(places.weights)
        began = time.perf_counter()
        scores = domain_of(config).score_cases(
            trained, material.test, places.predictions, config.name, progress, together
        )
        said = asked(trained.method)
        record = cell_record(
            config,
            cell,
            "finished",
            steps=result.steps,
            seconds=result.seconds,
            peak_bytes=memory.bytes(),
            history=result.history,
            scores=scores,
            extra={
                "prediction_seconds": time.perf_counter() - began,
                "feature_seconds": feature_seconds,
                **spent,
                "training_cases": [case.name for case in material.train],
                **material.facts,
                "parameters": sum(p.numel() for p in trained.method.parameters() if p.requires_grad),
                "threads": torch.get_num_threads(),
                "reproducibility": facts(config.budget, config.loop, config.seed, dataset.manifest_hash()),
                **said,
                "notes": [*material.notes, *result.notes, *said.get("notes", ())],
                **({"processes": together.size} if together.size > 1 else {}),
                **({"pretraining": pretraining_cost(Path(config.arm.start))} if config.arm.start else {}),
            },
        )
    if together.leads:
        record.save(places.records)
        shutil.rmtree(places.checkpoints, ignore_errors=True)
    progress(Event("done", config.name, 1.0, result.steps, message=summary(record)))
    return record


def finished_record(places: Places, cell: str) -> Record | None:
    """The record of a cell that came to its end; None if there is none yet."""
    path = places.records / f"{cell}.json"
    return record if path.is_file() and (record := Record.load(path)).status == "finished" else None


def read_material(
    config: TrainConfig,
    dataset: Dataset,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> Material:
    """Split, decide preprocessing on the training cases, and read them.

    Raises:
        DataError: if a class never occurs in the training cases.
    """
    return domain_of(config).read_material(config, dataset, progress, together)


def train_cell(
    config: TrainConfig,
    material: Material,
    places: Places,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> tuple[Any, Fit, float]:
    """Build the arm and train it.

    Returns:
        the trained network (`TrainedNetwork`), what training came to, and the seconds feature extraction took.
    """
    domain, training = domain_of(config), config.loop
    with torch.random.fork_rng():
        torch.manual_seed(config.drawing_seed)
        method = domain.build(config.arm, material.task)
    notes = list(getattr(method, "notes", ()))
    if config.arm.start is not None:
        require_unseen(Path(config.arm.start), material.test, domain.digests)
        notes.append(start_from(method, Path(config.arm.start), config.arm.takes))
    trained = domain.joined(config, material, method, places.cache)
    drawn = domain.draws(config, material, method, places.cache, progress, together)
    result = fit(
        method,
        drawn.batch_at,
        budget=config.budget,
        training=training,
        seed=config.drawing_seed,
        arm=config.name,
        spent=drawn.spent,
        checkpoints=places.checkpoints,
        validate=_validation(config, trained, material, together)
        if training.validate_every and material.test
        else None,
        cases_at=drawn.cases_at,
        progress=progress,
        together=together,
    )
    result.notes[:0] = notes
    return trained, result, drawn.spent


def asked(method: Any) -> dict[str, Any]:
    """What a method measures of itself after training, for the record."""
    return method.report() if hasattr(method, "report") else {}


def summary(record: Record) -> str:
    """One line about a finished cell."""
    main = main_score(record.scores)
    return f"{record.steps} steps in {record.seconds:.0f} s" + (f", {main[0]} {main[1]:.3f}" if main else "")


def main_score(scores: Sequence[Score]) -> tuple[str, float] | None:
    """Mean of the first metric there is, over cases and classes."""
    for metric in ("dice", "iou", "accuracy", "absolute_error"):
        values = [s.value for s in scores if s.metric == metric and s.value is not None]
        if values:
            return metric, float(np.mean(values))
    return None


def _validation(
    config: TrainConfig, trained: TrainedNetwork, material: Material, together: Team
) -> Callable[[nn.Module], dict[str, float]]:
    def validate(method: nn.Module) -> dict[str, float]:
        now = replace(trained, method=method)  # type: ignore[type-var]  # it is a dataclass
        found = main_score(domain_of(config).score_cases(now, material.test, None, config.name, silent, together))
        return {} if found is None else {found[0]: found[1]}

    return validate


@contextlib.contextmanager
def computing_threads(count: int | None) -> Any:
    """Torch computes with `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
