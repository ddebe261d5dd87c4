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

from dimlift.data.augmentation import Augmentation
from dimlift.data.cases import Case, Dataset
from dimlift.data.packed_samples import PackedSample, packed
from dimlift.data.patches import PatchSampler
from dimlift.data.preprocessing import Preprocessing
from dimlift.data.sample import Sample
from dimlift.data.splits import require_classes
from dimlift.errors import ConfigError, DataError
from dimlift.experiments.arms.arm import Task
from dimlift.experiments.cell_record import cell_record
from dimlift.experiments.config import TrainConfig
from dimlift.experiments.cost import Cost
from dimlift.experiments.loop import Fit, fit
from dimlift.experiments.memory import PeakMemory
from dimlift.experiments.progress import Event, Progress, silent
from dimlift.experiments.reproducibility import facts
from dimlift.experiments.scoring import score_cases
from dimlift.experiments.split import split_cases
from dimlift.experiments.start import pretraining_cost, require_unseen, start_from
from dimlift.experiments.team import Team
from dimlift.experiments.trained import Trained
from dimlift.losses.segmentation import weigh_classes
from dimlift.records.record import Record, Score

PATCH_MULTIPLE = 8
LARGEST_PATCH = 128**3


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


@dataclass
class Material:
    """What a cell works with once its data is read."""

    train: list[Case]
    test: list[Case]
    preprocessing: Preprocessing
    samples: list[Sample | PackedSample]
    task: Task


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
        spent = cost.facts()
        if together.leads:
            trained.save(places.weights)
        began = time.perf_counter()
        scores = score_cases(trained, material.test, places.predictions, config.name, progress, together)
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
                "patch_size": list(material.task.patch_size),
                "parameters": sum(p.numel() for p in trained.method.parameters() if p.requires_grad),
                "threads": torch.get_num_threads(),
                "reproducibility": facts(config.budget, config.loop, config.seed, dataset.manifest_hash()),
                **said,
                "notes": [*result.notes, *said.get("notes", ())],
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
    train, test = split_cases(dataset, config)
    wanted = config.preprocessing
    preprocessing = Preprocessing.fit(
        dataset, train, wanted.spacing, wanted.modality, wanted.nan_policy, wanted.resample_labels,
        wanted.windows, wanted.missing_sequences,
    )  # fmt: skip
    folder = config.training.packed
    if folder is not None:  # each process of a run begins elsewhere, so that they rarely pack the same case
        for case in train[len(train) * together.rank // together.size :]:
            packed(preprocessing, case, Path(folder))
    samples: list[Sample | PackedSample] = []
    for number, case in enumerate(train):
        samples.append(preprocessing.read(case) if folder is None else packed(preprocessing, case, Path(folder)))
        progress(Event("read", config.name, (number + 1) / len(train)))
    segmenting = config.task == "segmentation"
    if config.task != "regression":
        require_classes(samples, preprocessing.class_indices if segmenting else preprocessing.labels)
    classes = {"segmentation": len(preprocessing.labels) + 1, "regression": 1}.get(
        config.task, len(preprocessing.labels)
    )
    chosen = config.training.patch_size
    patch = auto_patch([s.image.shape[1:] for s in samples], whole=not segmenting) if chosen == "auto" else chosen
    if segmenting and chosen != "auto" and all(np.prod(s.image.shape[1:]) < np.prod(patch) / 8 for s in samples):
        raise DataError(
            f"training.patch_size {list(patch)} holds more than eight times the voxels of the largest training volume; "
            "the network would learn from padding. Use training.patch_size=auto"
        )
    numbers = [float(s.label) for s in samples] if config.task == "regression" else [0.0]  # type: ignore[arg-type]
    task = Task(
        kind=config.task,
        in_channels=len(preprocessing.normalisation),
        classes=classes,
        spacing=preprocessing.typical_spacing,
        patch_size=config.arm.patch_size(patch) if segmenting else patch,
        seed=config.drawing_seed,
        gradient_checkpointing=config.training.gradient_checkpointing,
        target_mean=float(np.mean(numbers)),
        target_deviation=float(np.std(numbers)) or 1.0,
        class_weights=balanced_weights(samples, classes)
        if config.training.class_weights == "balanced"
        else config.training.class_weights,
    )
    return Material(train, test, preprocessing, samples, task)


def balanced_weights(samples: Sequence[Sample | PackedSample], classes: int) -> tuple[float, ...]:
    """Weights that make every class count alike: all / (classes * those of the class), counted in cases or voxels."""
    counts = [sum(int(np.sum(np.asarray(sample.label) == index)) for sample in samples) for index in range(classes)]
    return tuple(sum(counts) / (classes * max(count, 1)) for count in counts)


def train_cell(
    config: TrainConfig,
    material: Material,
    places: Places,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> tuple[Trained, Fit, float]:
    """Build the arm and train it.

    Returns:
        the trained network, what training came to, and the seconds feature extraction took.
    """
    training, task = config.loop, material.task
    mine = together.share_of(training.batch_size)
    with torch.random.fork_rng():
        torch.manual_seed(config.drawing_seed)
        method = config.arm.build(task)
    if task.kind == "segmentation" and task.class_weights is not None:
        weigh_classes(method, task.class_weights)
    notes = list(getattr(method, "notes", ()))
    if config.arm.start is not None:
        require_unseen(Path(config.arm.start), material.test)
        notes.append(start_from(method, Path(config.arm.start)))
    bfloat16 = training.precision == "bf16"
    trained = Trained(config.arm, task, material.preprocessing, method, training.overlap, bfloat16, places.cache)
    spent, companions = config.arm.prepare(
        method,
        material.samples,  # type: ignore[arg-type]  # a packed image gives its whole array when asked
        places.cache,
        lambda event: progress(replace(event, arm=config.name)),
        len(material.test),
    )
    remembers = getattr(method, "remembers", False)
    if remembers and training.sequence_dropout:
        raise ConfigError(
            "training.sequence_dropout shows other volumes at every step, and tune=none keeps what was seen of them; "
            "set it to 0, or tune=lora"
        )
    sampler = PatchSampler(
        material.samples,
        task.patch_size,
        seed=config.drawing_seed,
        augment=Augmentation(mirror_axes=training.mirror_axes) if training.augment and not remembers else False,
        foreground_share=training.foreground_share,
        task=task.kind,
        companions=companions,
        companion_stride=getattr(method, "feature_stride", 1),
        sequence_dropout=training.sequence_dropout,
    )
    result = fit(
        method,
        config.arm.beside(lambda step: sampler.batch(step, training.batch_size, mine), config.drawing_seed),
        budget=config.budget,
        training=training,
        seed=config.drawing_seed,
        arm=config.name,
        spent=spent,
        checkpoints=places.checkpoints,
        validate=_validation(config, trained, material, together)
        if training.validate_every and material.test
        else None,
        cases_at=lambda step: sampler.cases(step, training.batch_size),
        progress=progress,
        together=together,
    )
    result.notes[:0] = notes
    return trained, result, spent


def auto_patch(shapes: Sequence[Sequence[int]], whole: bool = False) -> tuple[int, int, int]:
    """A patch that holds most training volumes whole: their median size, up to a multiple of 8, at most 128 cubed.

    Args:
        whole: take the largest volume instead, whatever its size (tasks about whole volumes).
    """
    measure = np.max if whole else np.median
    sizes = [int(-(-measure([s[axis] for s in shapes]) // PATCH_MULTIPLE) * PATCH_MULTIPLE) for axis in range(3)]
    while not whole and np.prod(sizes) > LARGEST_PATCH:
        sizes[sizes.index(max(sizes))] -= PATCH_MULTIPLE
    depth, height, width = sizes
    return depth, height, width


def asked(method: Any) -> dict[str, Any]:
    """What a method measures of itself after training, for the record."""
    return method.report() if hasattr(method, "report") else {}


def summary(record: Record) -> str:
    """One line about a finished cell."""
    main = main_score(record.scores)
    return f"{record.steps} steps in {record.seconds:.0f} s" + (f", {main[0]} {main[1]:.3f}" if main else "")


def main_score(scores: Sequence[Score]) -> tuple[str, float] | None:
    """Mean of the first metric there is, over cases and classes."""
    for metric in ("dice", "accuracy", "absolute_error"):
        values = [s.value for s in scores if s.metric == metric and s.value is not None]
        if values:
            return metric, float(np.mean(values))
    return None


def _validation(
    config: TrainConfig, trained: Trained, material: Material, together: Team
) -> Callable[[nn.Module], dict[str, float]]:
    def validate(method: nn.Module) -> dict[str, float]:
        found = main_score(
            score_cases(replace(trained, method=method), material.test, None, config.name, silent, together)
        )
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
