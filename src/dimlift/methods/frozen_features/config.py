"""A 3D U-Net that is given, beside the image, what a frozen 2D network sees in its slices."""

import json
import math
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.method_config import Arm, Task
from dimlift.methods.baselines.unets import require_segmentation
from dimlift.methods.frozen_features.feature_config import Borrowing
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from dimlift.data.preprocessing.sample import Sample
    from dimlift.methods.frozen_features.cache import FeatureCache
    from dimlift.methods.frozen_features.feature_augmentation import Look

TIMES = "seconds.json"
"""In the cache: how long each volume took, so that a hit costs an arm as much of its budget as a miss."""


class BorrowedArm(Borrowing, Arm):
    """3D U-Net with the features of a frozen 2D network as extra channels."""

    method: Literal["borrowed"] = Field(default="borrowed", description="3D U-Net with borrowed 2D features.")
    looks: int = Field(
        default=1,
        ge=1,
        description="Times the features of a training volume are taken, under other brightness and size but the first; "
        "each patch draws one. Worth its time in long schedules.",
    )
    components: int = Field(default=48, ge=1, description="Feature channels the U-Net is given, all maps together.")
    inject: Literal["input", "levels"] = Field(
        default="levels",
        description="Features enter behind the blocks of the U-Net, or (`input`) beside the image, at eight times "
        "the voxels.",
    )
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="Channels of the levels, finest first."
    )
    residual_units: int = Field(default=0, ge=0, description="Convolutions in each residual block; 0 for plain ones.")
    channel_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.3, description="Share of the feature channels set to zero in each training patch."
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A U-Net and the frozen network it borrows from; a random one is drawn by the seed of the run."""
        from dimlift.methods.frozen_features.method import BorrowedUnet

        require_segmentation(self.method, task)
        return BorrowedUnet(
            self.extractor(task.seed),
            task.in_channels,
            task.classes,
            components=self.components,
            inject=self.inject,
            widths=self.widths,
            residual_units=self.residual_units,
            channel_dropout=self.channel_dropout,
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = silent,
        later: int = 0,
    ) -> "tuple[float, list[list[list[Tensor]]] | None]":
        """Extract the features of the training samples, or find them in the cache, and fit their projection."""
        return features_of(method, samples, cache, progress, looks=self.looks, later=later)

    def companions(self, method: Any, sample: "Sample", cache: "Path | None" = None) -> "list[Tensor] | None":
        """The features of one volume."""
        from dimlift.methods.frozen_features.cache import FeatureCache

        store = None if cache is None else FeatureCache(cache, method.extractor)
        return method.coarse_features(_tensor(sample), sample.geometry.spacing, store)

    def companion_bytes(self, method: Any, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> int:
        """Maps as they are kept in the cache (two bytes a number), and once more in single precision."""
        grids = method.extractor.grids(size, spacing)
        kept = zip(method.extractor.channels, grids, strict=True)
        return sum(6 * channels * math.prod(grid) for channels, grid in kept)


def features_of(
    method: Any,
    samples: "Sequence[Sample]",
    cache: "Path",
    progress: Progress = silent,
    *,
    looks: int = 1,
    later: int = 0,
) -> "tuple[float, list[list[list[Tensor]]]]":
    """Slice features of samples, from the cache where they are, and the projection of `method` fitted on them.

    Args:
        method: has an `extractor`, `fit(maps)` and `project(maps, size)`.
        looks: alternatives of each sample.
        later: volumes that will follow, for the estimate that is told before the work.

    Returns:
        the seconds it takes without a cache; and for each sample its alternatives, each a list of coarse maps.
    """
    from dimlift.methods.frozen_features.cache import FeatureCache
    from dimlift.methods.frozen_features.cost_estimate import estimate
    from dimlift.methods.frozen_features.feature_augmentation import draw_looks

    volumes = [(s.image.shape[1:], s.geometry.spacing) for s in samples for _ in range(looks)]
    progress(Event("features", message=str(estimate(method.extractor, volumes + volumes[:1] * later))))
    store = FeatureCache(cache, method.extractor)
    maps, seconds = [], 0.0
    for number, sample in enumerate(samples):
        image, alternatives = _tensor(sample), []
        for look in draw_looks(image, looks):
            found, took = _timed(store, image, sample.geometry.spacing, look)
            alternatives.append(found)
            seconds += took
        maps.append(alternatives)
        progress(Event("features", share=(number + 1) / len(samples)))
    began = time.perf_counter()
    method.fit(each for alternatives in maps for each in alternatives)
    sizes = [sample.image.shape[1:] for sample in samples]
    coarse = [[method.project(each, size) for each in several] for several, size in zip(maps, sizes, strict=True)]
    return seconds + time.perf_counter() - began, coarse


def _tensor(sample: "Sample") -> "torch.Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(sample.image))  # a packed one is read whole


def _timed(
    store: "FeatureCache", image: "Tensor", spacing: tuple[float, float, float], look: "Look"
) -> "tuple[list[Tensor], float]":
    """Maps of a volume, and the seconds their extraction takes, now or when they came into the cache."""
    key, record = store.key(image, spacing, look), store.folder / TIMES
    before = store.seconds
    maps = store(image, spacing, look)
    took = store.seconds - before
    times = _read(record)
    if not took and key not in times:  # somebody else filled the cache
        began = time.perf_counter()
        store.extractor(image, spacing, look)
        took = time.perf_counter() - began
    if took:
        write_json(record, {**times, key: took})
    return maps, took or times[key]


def _read(path: "Path") -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
