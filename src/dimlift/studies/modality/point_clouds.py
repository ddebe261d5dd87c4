"""Runs on clouds of points: points drawn anew in each step, an answer for every cloud or for every point of it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dimlift.config.method_config import Arm, Task
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.point_cloud_index import read_place
from dimlift.data.datasets.point_cloud_set import CloudSet, points_digest
from dimlift.data.datasets.point_clouds import open_cloud_dataset
from dimlift.data.datasets.splits import balanced_weights, require_classes
from dimlift.data.issue import Finding
from dimlift.data.preprocessing.point_clouds import CloudPreprocessing
from dimlift.data.quality.check_dataset import check_cases
from dimlift.data.quality.check_point_cloud import look_at_cloud
from dimlift.data.sampling.point_cloud_sampler import CloudSampler, as_it_is
from dimlift.errors import ConfigError
from dimlift.inference.point_predictor import TrainedPoints
from dimlift.methods.points.config import COORDINATES, PointEncoderArm
from dimlift.metrics.points import confusion, score_points
from dimlift.metrics.scores import score_classification
from dimlift.progress import Event, Progress
from dimlift.records.atomic_write import written_whole
from dimlift.records.record import Score
from dimlift.studies.modality.protocol import Draws, Material
from dimlift.studies.split import split_cases
from dimlift.training.distributed import Team


def open_data(config: Any) -> Dataset:
    """The clouds of `clouds`."""
    return open_cloud_dataset(config.clouds.path, config.task, config.clouds.skip_bad)


def find_faults(dataset: Dataset, config: Any, heard: Callable[[int, int], None]) -> list[Finding]:
    """What is wrong with each cloud, and between them."""
    return check_cases(dataset, partial(look_at_cloud, dataset=dataset), heard, content="points")


def read_material(config: Any, dataset: Dataset, progress: Progress, together: Team) -> Material:
    """Split, decide preprocessing on the training clouds, and read them.

    Raises:
        DataError: if a class never occurs in the training clouds, or a cloud lacks a column.
        ConfigError: if there is not one class weight for each class.
    """
    train, test = split_cases(dataset, config)
    wanted = config.clouds
    preprocessing = CloudPreprocessing.fit(
        dataset, train, frame=wanted.frame, features=wanted.features, points=wanted.points, radius=wanted.radius
    )
    samples = []
    for number, case in enumerate(train):
        samples.append(preprocessing.read(case))
        progress(Event("read", config.name, (number + 1) / len(train)))
    classes = {name: index for index, name in enumerate(dataset.labels)}
    require_classes(samples, classes)
    weights = config.training.class_weights
    if weights == "balanced":
        weights = balanced_weights(samples, len(classes))
    elif weights is not None and len(weights) != len(classes):
        raise ConfigError(
            f"training.class_weights holds {len(weights)} numbers for {len(classes)} classes; give one for each, in "
            f"the order {', '.join(classes)}"
        )
    task = Task(
        kind=config.task,
        in_channels=COORDINATES + preprocessing.channels,
        classes=len(classes),
        spacing=None,
        patch_size=(0, 0, 0),
        seed=config.drawing_seed,
        class_weights=weights,
    )
    facts: dict[str, Any] = {"points": wanted.points}
    if dataset.left_out:
        facts |= {"bad_clouds": len(dataset.left_out), "left_out": list(dataset.left_out)}
    return Material(train, test, preprocessing, samples, task, facts)


def build(arm: Arm, task: Task) -> nn.Module:
    """The method of an arm."""
    return arm.build(task)


def digests(case: Case) -> list[str]:
    """Of its points, whatever file they are in."""
    return [points_digest(read_place(case.images[0]).points)]


def joined(config: Any, material: Material, method: nn.Module, cache: Path) -> TrainedPoints:
    """With the arithmetic the configuration asks for."""
    return TrainedPoints(config.arm, material.task, material.preprocessing, method, config.loop.precision == "bf16")


def draws(
    config: Any,
    material: Material,
    method: nn.Module,
    cache: Path,
    progress: Progress,
    together: Team,
) -> Draws:
    """Points drawn from the training clouds; nothing is computed first."""
    samples, wanted, training = material.samples, config.clouds, config.loop
    segmenting = material.task.kind == "segmentation"
    if isinstance(config.arm, PointEncoderArm) and wanted.radius is None:
        config.arm.require_points({sample.name: len(sample.points) for sample in samples})
    labels = tuple(sample.label for sample in samples)
    clouds = CloudSet(
        tuple(sample.points for sample in samples),
        tuple(sample.name for sample in samples),
        labels=() if segmenting else labels,
        point_labels=labels if segmenting else (),
        features=() if samples[0].features is None else tuple(sample.features for sample in samples),
    )
    sampler = CloudSampler(
        clouds,
        wanted.points,
        seed=config.drawing_seed,
        augment=training.augment,
        turn=wanted.turn,
        upright="xyz".index(wanted.upright),
        placed=as_it_is,
        radius=wanted.radius,
    )
    mine = together.share_of(training.batch_size)
    return Draws(
        lambda step: sampler.batch(step, training.batch_size, mine),
        lambda step: sampler.cases(step, training.batch_size),
    )


def score_cases(
    trained: TrainedPoints,
    cases: Sequence[Case],
    predictions: Path | None,
    arm: str,
    progress: Progress,
    together: Team,
) -> list[Score]:
    """Scores of every cloud.

    Args:
        predictions: folder for the labels of points, as `<case>.npz`; none are written without it.
        together: processes that share the clouds; each gets the scores of all.
    """
    preprocessing, segmenting = trained.preprocessing, trained.task.kind == "segmentation"
    found: list[tuple[str, Any]] = []
    mine = cases[together.rank :: together.size]
    for number, case in enumerate(mine):
        sample = preprocessing.read(case)
        chances = trained.probabilities(sample)
        if segmenting:
            answer = chances.argmax(axis=1)
            if predictions is not None:
                _write(predictions / f"{case.name}.npz", preprocessing.file_labels(answer))
            found.append((case.name, confusion(answer, np.asarray(sample.label), trained.task.classes)))
        else:
            found.append((case.name, chances))
        progress(Event("predict", arm, (number + 1) / len(mine)))
    answers = dict(together.gather_lists(found))
    names = [case.name for case in cases]
    if segmenting:
        return score_points(names, [answers[name] for name in names], preprocessing.labels)
    if not names:
        return []
    truth = np.array([case.label for case in cases])
    return score_classification(names, np.stack([answers[name] for name in names]), truth, preprocessing.labels)


def _write(path: Path, labels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(stream, labels=labels)
