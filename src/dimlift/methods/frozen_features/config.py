"""Configuration of the U-Net with frozen features, and feature extraction before training."""

import json
import math
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.config.sections import DropRate
from dimlift.methods.baselines.unets import UNetStrides, unet_strides
from dimlift.methods.frozen_features.feature_config import FeatureExtractionConfig
from dimlift.methods.method import Method
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from torch import Tensor

    from dimlift.config.method_config import SampleFeatures
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.methods.frozen_features.cache import FeatureCache
    from dimlift.methods.frozen_features.feature_augmentation import FeatureAugmentation
    from dimlift.methods.preparation_cost import PreparationCost

TIMES_NAME = "seconds.json"
"""File in the cache with the extraction time of each volume, so that cache hits use as much of the budget as misses."""


class FrozenFeaturesConfig(FeatureExtractionConfig, MethodConfig):
    """3D U-Net with the features of a frozen 2D network as extra inputs."""

    method: Literal["frozen_features"] = Field(
        default="frozen_features", description="3D U-Net with features of a frozen 2D network."
    )
    feature_augmentations: int = Field(
        default=1,
        ge=1,
        description="Number of feature sets per training volume, all but the first extracted under another brightness "
        "and scale; each patch uses one. Pays in long schedules.",
    )
    num_components: int = Field(default=48, ge=1, description="Feature channels of the U-Net, over all maps.")
    fusion: Literal["input", "levels"] = Field(
        default="levels",
        description="Where features enter: behind the blocks of the U-Net, or (`input`) next to the image, with eight "
        "times as many voxels.",
    )
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="Channels of the levels, finest first."
    )
    residual_units: int = Field(
        default=0, ge=0, description="Convolutions per residual block; 0 for plain convolutions."
    )
    strides: UNetStrides = "isotropic"
    channel_dropout: DropRate = Field(
        default=0.3, description="Fraction of the feature channels set to zero in each training patch."
    )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a U-Net and its frozen network; a random network is initialised with the seed of the run."""
        from dimlift.methods.frozen_features.method import FrozenFeatureUNet

        self.require_segmentation(task)
        return FrozenFeatureUNet(
            self.extractor(task.seed),
            task.in_channels,
            task.num_classes,
            num_components=self.num_components,
            fusion=self.fusion,
            widths=self.widths,
            residual_units=self.residual_units,
            strides=unet_strides(self.strides, task, len(self.widths)),
            channel_dropout=self.channel_dropout,
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = no_progress,
    ) -> "tuple[float, SampleFeatures | None]":
        """Extract the features of the training samples, or read them from the cache, and fit their projection."""
        return extract_features(method, samples, cache, progress, feature_augmentations=self.feature_augmentations)

    def preparation_cost(self, method: Any, samples: "Sequence[Sample]") -> "PreparationCost":
        """Return the cost of extraction, from a few timed slices."""
        from dimlift.methods.frozen_features.cost_estimate import estimate_cost

        volumes = [(s.image.shape[1:], s.geometry.spacing) for s in samples for _ in range(self.feature_augmentations)]
        return estimate_cost(method.extractor, volumes)

    def extra_inputs(self, method: Any, sample: "Sample", cache: "Path | None" = None) -> "list[Tensor] | None":
        """Return the features of a volume."""
        from dimlift.methods.frozen_features.cache import FeatureCache

        store = None if cache is None else FeatureCache(cache, method.extractor)
        return method.coarse_features(_image_tensor(sample), sample.geometry.spacing, store)

    def extra_input_bytes(self, method: Any, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> int:
        """Return the memory of maps as they are cached (two bytes per value) and once more in single precision."""
        grids = method.extractor.grids(size, spacing)
        maps = zip(method.extractor.channels, grids, strict=True)
        return sum(6 * channels * math.prod(grid) for channels, grid in maps)


def extract_features(
    method: Any,
    samples: "Sequence[Sample]",
    cache: "Path",
    progress: Progress = no_progress,
    *,
    feature_augmentations: int = 1,
) -> "tuple[float, SampleFeatures]":
    """Extract features of samples, or read them from the cache, and fit the projection of a method on them.

    Args:
        method: has an `extractor`, `fit(maps)` and `project(maps, size)`.
        samples: the training samples.
        cache: folder of the cache.
        progress: progress callback.
        feature_augmentations: number of feature sets per sample.

    Returns:
        The seconds this takes without a cache, and for each sample its feature sets, each a list of coarse maps.
    """
    from dimlift.methods.frozen_features.cache import FeatureCache
    from dimlift.methods.frozen_features.feature_augmentation import sample_feature_augmentations

    store = FeatureCache(cache, method.extractor)
    maps, seconds = [], 0.0
    for number, sample in enumerate(samples):
        image, alternatives = _image_tensor(sample), []
        for augmentation in sample_feature_augmentations(image, feature_augmentations):
            found, elapsed = _timed(store, image, sample.geometry.spacing, augmentation)
            alternatives.append(found)
            seconds += elapsed
        maps.append(alternatives)
        progress(Event("features", fraction=(number + 1) / len(samples)))
    start = time.perf_counter()
    method.fit(each for alternatives in maps for each in alternatives)
    sizes = [sample.image.shape[1:] for sample in samples]
    coarse = [[method.project(each, size) for each in several] for several, size in zip(maps, sizes, strict=True)]
    return seconds + time.perf_counter() - start, coarse


def _image_tensor(sample: "Sample") -> "torch.Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(sample.image))  # reads the whole array of a sample on disk


def _timed(
    store: "FeatureCache", image: "Tensor", spacing: tuple[float, float, float], augmentation: "FeatureAugmentation"
) -> "tuple[list[Tensor], float]":
    """Return the maps of a volume, and the seconds of their extraction, now or when they were cached."""
    key, times_path = store.key(image, spacing, augmentation), store.folder / TIMES_NAME
    before = store.seconds
    maps = store(image, spacing, augmentation)
    elapsed = store.seconds - before
    times = _read_times(times_path)
    if not elapsed and key not in times:  # the features were cached without their time
        start = time.perf_counter()
        store.extractor(image, spacing, augmentation)
        elapsed = time.perf_counter() - start
    if elapsed:
        write_json(times_path, {**times, key: elapsed})
    return maps, elapsed or times[key]


def _read_times(path: "Path") -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
