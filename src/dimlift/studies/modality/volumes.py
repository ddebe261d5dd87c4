"""Runs on volumes: patches of voxels, predictions on the grid of their files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dimlift.config.method_config import Arm, Task
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.splits import balanced_weights, require_classes
from dimlift.data.issue import Finding
from dimlift.data.preprocessing.blosc_samples import PackedSample, packed
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Sample
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import fingerprints
from dimlift.data.quality.intensity_scale import remarks_on_scale
from dimlift.data.sampling.augmentation import Augmentation
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import ConfigError, DataError
from dimlift.evaluation.evaluate import score_cases
from dimlift.inference.predictor import Trained
from dimlift.losses.segmentation import weigh_classes
from dimlift.progress import Event, Progress
from dimlift.studies.modality.protocol import Draws, Material
from dimlift.studies.split import split_cases
from dimlift.training.distributed import Team

__all__ = ["build", "digests", "draws", "find_faults", "joined", "open_data", "read_material", "score_cases"]

PATCH_MULTIPLE = 8
LARGEST_PATCH = 128**3


def open_data(config: Any) -> Dataset:
    """The volumes of `dataset`."""
    return open_dataset(config.dataset.path, config.dataset.layout, config.task)


def find_faults(dataset: Dataset, config: Any, heard: Callable[[int, int], None]) -> list[Finding]:
    """What `dimlift check` says of them."""
    wanted = config.preprocessing
    return check_dataset(
        dataset,
        wanted.nan_policy,
        heard,
        resample_labels=wanted.resample_labels,
        missing=wanted.missing_sequences,
    )


def read_material(config: Any, dataset: Dataset, progress: Progress, together: Team) -> Material:
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
    notes = remarks_on_scale([sample.image for sample in samples])
    for note in notes:
        progress(Event("check", config.name, 1.0, message=f"warning: {note}"))
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
    return Material(train, test, preprocessing, samples, task, {"patch_size": list(task.patch_size)}, notes)


def build(arm: Arm, task: Task) -> nn.Module:
    """The method of an arm; its Dice plus cross-entropy weighs classes as the task says."""
    method = arm.build(task)
    if task.kind == "segmentation" and task.class_weights is not None:
        weigh_classes(method, task.class_weights)
    return method


def digests(case: Case) -> list[str]:
    """Of the voxels of its images."""
    return fingerprints(case)


def joined(config: Any, material: Material, method: nn.Module, cache: Path) -> Trained:
    """With the overlap of windows and the arithmetic the configuration asks for."""
    training = config.loop
    bfloat16 = training.precision == "bf16"
    return Trained(config.arm, material.task, material.preprocessing, method, training.overlap, bfloat16, cache)


def draws(
    config: Any,
    material: Material,
    method: nn.Module,
    cache: Path,
    progress: Progress,
    together: Team,
) -> Draws:
    """Patches, with the features that go with them.

    Raises:
        ConfigError: if channels are to be hidden from a method that keeps what it saw of them.
    """
    training, task = config.loop, material.task
    spent, companions = config.arm.prepare(
        method,
        material.samples,  # a packed image gives its whole array when asked
        cache,
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
    mine = together.share_of(training.batch_size)
    return Draws(
        config.arm.beside(lambda step: sampler.batch(step, training.batch_size, mine), config.drawing_seed),
        lambda step: sampler.cases(step, training.batch_size),
        spent,
    )


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
