"""Training data of volumes: preprocessed samples, the patch size, and batches of random patches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.config.method_config import TaskSpec
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.splits import balanced_class_weights, require_classes
from dimlift.data.preprocessing.blosc_samples import BloscSample, load_blosc_sample
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Sample
from dimlift.data.quality.intensity_scale import check_intensity_scale
from dimlift.data.sampling.augmentation import Augmentation
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import ConfigError, DataError
from dimlift.inference.modality.base import BatchSource, RunData
from dimlift.methods.method import Method
from dimlift.methods.preparation_cost import require_affordable
from dimlift.progress import Event, Progress
from dimlift.training.distributed import ProcessGroup

PATCH_MULTIPLE = 8
MAX_PATCH_VOXELS = 128**3


def load_volumes(
    config: Any, dataset: Dataset, train: list[Case], test: list[Case], progress: Progress, group: ProcessGroup
) -> RunData:
    """Fit preprocessing on the training volumes and read them.

    Args:
        config: a `TrainConfig`.

    Raises:
        DataError: if a class never occurs in the training volumes, or a patch is far larger than they are.
    """
    options = config.preprocessing
    preprocessing = Preprocessing.fit(
        dataset, train, options.spacing, options.modality, options.nan_policy, options.resample_labels,
        options.windows, options.missing_channels,
    )  # fmt: skip
    samples = _read_samples(config, preprocessing, train, progress, group)
    notes = check_intensity_scale([sample.image for sample in samples])
    for note in notes:
        progress(Event("check", config.name, 1.0, message=f"warning: {note}"))
    segmenting = config.task == "segmentation"
    if config.task != "regression":
        require_classes(samples, preprocessing.class_indices if segmenting else preprocessing.labels)
    classes = {"segmentation": len(preprocessing.labels) + 1, "regression": 1}.get(
        config.task, len(preprocessing.labels)
    )
    targets = [float(s.label) for s in samples] if config.task == "regression" else [0.0]  # type: ignore[arg-type]
    weights = config.training.class_weights
    patch = _patch_size(config.training.patch_size, [s.image.shape[1:] for s in samples], segmenting)
    task = TaskSpec(
        kind=config.task,
        in_channels=len(preprocessing.normalisation),
        num_classes=classes,
        spacing=preprocessing.typical_spacing,
        patch_size=config.arm.training_patch_size(patch) if segmenting else patch,
        seed=config.init_seed,
        gradient_checkpointing=config.training.gradient_checkpointing,
        target_mean=float(np.mean(targets)),
        target_std=float(np.std(targets)) or 1.0,
        class_weights=balanced_class_weights(samples, classes) if weights == "balanced" else weights,
    )
    return RunData(train, test, preprocessing, samples, task, {"patch_size": list(task.patch_size)}, notes)


def _read_samples(
    config: Any, preprocessing: Preprocessing, train: Sequence[Case], progress: Progress, group: ProcessGroup
) -> list[Sample | BloscSample]:
    """Return the training volumes in memory, or on disk under `training.cache_dir`."""
    folder = config.training.cache_dir
    if folder is not None:  # each process starts at another case, so that they rarely compress the same one
        for case in train[len(train) * group.rank // group.world_size :]:
            load_blosc_sample(preprocessing, case, Path(folder))
    samples: list[Sample | BloscSample] = []
    for number, case in enumerate(train):
        samples.append(
            preprocessing.read(case) if folder is None else load_blosc_sample(preprocessing, case, Path(folder))
        )
        progress(Event("read", config.name, (number + 1) / len(train)))
    return samples


def make_patches(
    config: Any, data: RunData, method: Method, cache: Path, progress: Progress, group: ProcessGroup
) -> BatchSource:
    """Return batches of random patches, with the features the method needs beside them.

    Raises:
        ConfigError: if the features are not affordable (`require_affordable`), or channels are to be dropped for a
            method that caches its features of the volumes.
    """
    training, task = config.loop, data.task
    cost = config.arm.preparation_cost(method, data.samples)
    if cost is not None:
        require_affordable(cost, config.budget.seconds, cache)
        progress(Event("features", config.name, message=str(cost.with_more(len(data.test)))))
    seconds, features = config.arm.prepare(
        method,
        data.samples,  # the image of a compressed sample converts to a whole array
        cache,
        lambda event: progress(replace(event, arm=config.name)),
    )
    if method.caches_features and training.channel_dropout:
        raise ConfigError(
            "training.channel_dropout changes the volumes at every step, and tune=none computes their features once; "
            "set it to 0, or tune=lora"
        )
    sampler = PatchSampler(
        data.samples,
        task.patch_size,
        seed=config.init_seed,
        augment=Augmentation(mirror_axes=training.mirror_axes)
        if training.augment and not method.caches_features
        else False,
        oversample_foreground=training.oversample_foreground,
        task=task.kind,
        features=features,
        feature_stride=method.feature_stride,
        channel_dropout=training.channel_dropout,
    )
    local = group.local_range(training.batch_size)
    return BatchSource(
        config.arm.wrap_batches(lambda step: sampler.batch(step, training.batch_size, local), config.init_seed),
        lambda step: sampler.cases(step, training.batch_size),
        seconds,
    )


def auto_patch_size(shapes: Sequence[Sequence[int]], whole: bool = False) -> tuple[int, int, int]:
    """Return the median size of the volumes, rounded up to a multiple of 8, with at most 128 cubed voxels.

    Args:
        whole: take the largest volume instead, whatever its size (tasks about whole volumes).
    """
    reduce = np.max if whole else np.median
    sizes = [int(-(-reduce([s[axis] for s in shapes]) // PATCH_MULTIPLE) * PATCH_MULTIPLE) for axis in range(3)]
    while not whole and np.prod(sizes) > MAX_PATCH_VOXELS:
        sizes[sizes.index(max(sizes))] -= PATCH_MULTIPLE
    depth, height, width = sizes
    return depth, height, width


def _patch_size(requested: Any, shapes: Sequence[Sequence[int]], segmenting: bool) -> tuple[int, int, int]:
    if requested == "auto":
        return auto_patch_size(shapes, whole=not segmenting)
    if segmenting and all(np.prod(shape) < np.prod(requested) / 8 for shape in shapes):
        raise DataError(
            f"training.patch_size {list(requested)} holds more than eight times the voxels of the largest training "
            "volume; the network would be trained on padding. Use training.patch_size=auto"
        )
    return requested
