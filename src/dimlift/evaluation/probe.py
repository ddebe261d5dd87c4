"""Probe frozen features: of a file of embeddings, or of the network in a weights folder beside random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.datasets.point_cloud_set import PointCloudSet, concat_point_cloud_sets, load_point_cloud_set
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler
from dimlift.errors import DataError, UnknownNameError
from dimlift.evaluation.linear_probe import CrossValidatedProbe, cross_validated_probe
from dimlift.evaluation.probe_protocols import (
    PROTOCOLS,
    PUBLISHED_C,
    ProbeSplit,
    Protocol,
    ResampledAccuracy,
    make_splits,
    mean_test_ratio,
    svm_accuracy,
)
from dimlift.inference.embed import BATCH_SIZE, build_point_encoder, embed_point_clouds, point_encoder_options
from dimlift.lifting.bn_recalibration import recalibrate_bn, tracked_batch_norms
from dimlift.progress import Progress, no_progress
from dimlift.records.embeddings import Embeddings
from dimlift.records.weights import read_card
from dimlift.training.fit import fit

CROSS_VALIDATION = "cross_validation"


def probe(
    source: Path,
    dataset: Path | None = None,
    *,
    protocol: str | None = None,
    labels: Path | None = None,
    label_column: str = "label",
    group_column: str = "group",
    task: str = "classification",
    folds: int = 5,
    seed: int = 0,
    progress: Progress = no_progress,
    **options: Any,
) -> CrossValidatedProbe | ResampledAccuracy:
    """Probe a file of embeddings, or the network of a weights folder on a dataset.

    Args:
        source: what `embed` wrote; or with `dataset` a weights folder.
        protocol: "cross_validation" or one of `PROTOCOLS`; None is cross-validation of embeddings, "svm" of weights.
        labels: see `cross_validated_probe`, as `label_column`, `group_column`, `task` and `folds`.
        options: of `probe_weights`, or of `probe_embeddings`.

    Raises:
        DataError: if the source cannot be probed.
        UnknownNameError: for an unknown protocol or task.
    """
    if task not in ("classification", "regression"):
        raise UnknownNameError("task", task, ("classification", "regression"))
    chosen: Any = protocol or (CROSS_VALIDATION if dataset is None else "svm")
    if chosen not in (*PROTOCOLS, *([CROSS_VALIDATION] if dataset is None else [])):
        raise UnknownNameError("protocol", chosen, PROTOCOLS if dataset else (CROSS_VALIDATION, *PROTOCOLS))
    if dataset is not None:
        return probe_weights(source, dataset, chosen, seed=seed, progress=progress, **options)
    embeddings = Embeddings.load(source)
    if chosen == CROSS_VALIDATION:
        return cross_validated_probe(
            embeddings, labels, label_column=label_column, group_column=group_column, task=task, folds=folds, seed=seed  # type: ignore[arg-type]
        )  # fmt: skip
    known = {name: value for name, value in options.items() if name in ("repeats", "penalty", "ways", "shots")}
    return probe_embeddings(embeddings, chosen, seed=seed, **known)


def probe_embeddings(
    embeddings: Embeddings,
    protocol: Protocol = "svm",
    *,
    repeats: int = 10,
    penalty: float = PUBLISHED_C,
    test_fraction: float = 0.3,
    ways: int = 5,
    shots: int = 10,
    seed: int = 0,
) -> ResampledAccuracy:
    """Probe embeddings with resampled splits; arguments are those of `probe_weights`.

    Raises:
        DataError: if a case has no label, classes have too few cases, or the protocol trains a network.
    """
    if protocol == "fine_tune":
        raise DataError("fine_tune trains the network; give its weights folder with --dataset in place of embeddings")
    names, truth = np.unique(embeddings.labels, return_inverse=True)
    if "" in names or len(names) < 2:
        raise DataError("every case needs a label, and at least two classes; embed a dataset with labels")
    splits = make_splits(truth, protocol, repeats, test_fraction, ways, shots, seed)
    values = tuple(svm_accuracy(embeddings.vectors, truth, split, protocol, penalty) for split in splits)
    return ResampledAccuracy(protocol, values, (), mean_test_ratio(splits), 0, len(truth))


def probe_weights(
    weights: Path,
    dataset: Path | PointCloudSet,
    protocol: Protocol = "svm",
    *,
    test_dataset: Path | PointCloudSet | None = None,
    repeats: int = 10,
    penalty: float = PUBLISHED_C,
    test_fraction: float = 0.3,
    num_points: int = 1024,
    ways: int = 5,
    shots: int = 10,
    steps: int = 300,
    columns: Sequence[str] = (),
    control: bool = True,
    seed: int = 0,
    progress: Progress = no_progress,
) -> ResampledAccuracy:
    """Probe a point encoder that `dimlift pretrain` wrote, beside the same network with random weights.

    Args:
        dataset: point clouds with one class each.
        protocol: see `PROTOCOLS`.
        test_dataset: separate test set, predicted once, with all of `dataset` as training set.
        repeats: samples of training and test cases; ignored with `test_dataset`.
        penalty: C of `svm_published`: 0.0093 on ModelNet40, 0.018 on ScanObjectNN (I2P-MAE).
        test_fraction: of the cases; `few_shot` tests on up to 20 cases of each class instead.
        num_points: points sampled from each point cloud.
        ways: classes of a few-shot repeat.
        shots: training cases of each of them.
        steps: of fine-tuning.
        columns: names of the columns of point clouds whose files do not name them.
        control: also probe random weights.

    Raises:
        DataError: if the folder holds no point encoder, labels are missing, classes have too few cases, or a test case
            is among the training cases.
    """
    options = point_encoder_options(weights)
    clouds = dataset if isinstance(dataset, PointCloudSet) else load_point_cloud_set(dataset, columns)
    if len(clouds.classes) < 2:
        raise DataError("the point clouds have fewer than two classes; a folder for each class or a CSV gives labels")
    tested = 0
    if test_dataset is not None:
        if protocol == "few_shot":
            raise DataError("few_shot samples its test cases; omit --test-dataset, or choose another protocol")
        test = test_dataset
        if not isinstance(test, PointCloudSet):
            test = load_point_cloud_set(test, columns)
        clouds, tested = concat_point_cloud_sets(clouds, test), len(test)
    seen = len(set(read_card(weights).get("seen", [])) & set(clouds.point_hashes()))
    truth = np.array(clouds.labels)
    if tested:
        splits = [(np.arange(len(clouds) - tested), np.arange(len(clouds) - tested, len(clouds)))]
    else:
        splits = make_splits(truth, protocol, repeats, test_fraction, ways, shots, seed)

    def accuracies(loaded: Path | None) -> tuple[float, ...]:
        if protocol == "fine_tune":
            return tuple(
                _fine_tune(options, loaded, clouds, split, num_points, steps, seed + number, progress)
                for number, split in enumerate(splits)
            )
        pooling: Any = "max" if protocol == "svm_published" else "both"
        encoder = build_point_encoder(options, loaded, seed)
        if loaded is None:
            estimate_bn_statistics(encoder, clouds, num_points)
        vectors = embed_point_clouds(encoder, clouds, num_points, pooling, progress)
        return tuple(svm_accuracy(vectors, truth, split, protocol, penalty) for split in splits)

    return ResampledAccuracy(
        protocol,
        accuracies(weights),
        accuracies(None) if control else (),
        mean_test_ratio(splits),
        seen,
        len(clouds),
        tested,
    )


def estimate_bn_statistics(encoder: nn.Module, clouds: PointCloudSet, num_points: int = 1024) -> None:
    """Estimate the batch-norm statistics of an untrained encoder; without them its features are not normalised."""
    sampler = PointCloudSampler(clouds, num_points, augment=False)
    starts = range(0, len(clouds), BATCH_SIZE)
    batches = (sampler.deterministic_batch(range(i, min(i + BATCH_SIZE, len(clouds)))).points for i in starts)
    if any(tracked_batch_norms(encoder)):
        recalibrate_bn(encoder, batches)


def _fine_tune(
    options: dict[str, Any],
    weights: Path | None,
    clouds: PointCloudSet,
    split: ProbeSplit,
    num_points: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> float:
    """Return the test accuracy after training the whole network on the training cases."""
    train, test = split
    method = build_point_encoder(options, weights, seed, len(clouds.classes))
    sampler = PointCloudSampler(clouds.subset(train.tolist()), num_points, seed=seed)
    training = TrainingSection(batch_size=16, lr=5e-4, weight_decay=0.05, grad_clip_norm=10.0)
    budget = BudgetSection(steps=steps)
    fit(method, lambda step: sampler.batch(step, 16), budget=budget, training=training, seed=seed, progress=progress)
    method.eval()
    device = next(method.parameters()).device
    whole, right = PointCloudSampler(clouds, num_points, augment=False), 0
    with torch.no_grad():
        for part in np.array_split(test, max(1, len(test) // BATCH_SIZE)):
            batch = whole.deterministic_batch(part.tolist())
            right += int((method(batch.points.to(device)).cpu().argmax(1) == batch.label).sum())
    return right / len(test)
