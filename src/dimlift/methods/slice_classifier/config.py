"""Configuration of the slice classifier."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import Backbone2DConfig
from dimlift.methods.method import Method
from dimlift.progress import Event, Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from dimlift.config.method_config import SampleFeatures
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.methods.preparation_cost import PreparationCost


class SliceClassifierConfig(Backbone2DConfig):
    """2D network on every slice with attention pooling over slices; one output per volume."""

    method: Literal["slice_classifier"] = Field(
        default="slice_classifier", description="2D network on every slice, attention pooling over slices."
    )
    tune: Literal["none", "lora", "all"] = Field(
        default="none",
        description="Trained part of the 2D network: none (its features are cached, and volumes are not augmented), "
        "low-rank adapters, or all weights.",
    )
    rank: int = Field(default=8, ge=1, description="Rank of the adapters of `tune: lora`.")
    pooling: Literal["attention", "transformer", "mean"] = Field(
        default="attention",
        description="Pooling over slices; `transformer` applies a transformer layer before attention pooling.",
    )
    embed_dim: int = Field(
        default=128, ge=4, multiple_of=4, description="Length of the vector of a slice in the pooling."
    )
    image_size: int | None = Field(default=None, ge=1, description="Slice size of networks with a fixed input size.")
    upsample: int = Field(default=1, ge=1, description="Factor by which height and width of the slices are upsampled.")

    @model_validator(mode="after")
    def _freezing_needs_training(self) -> Self:
        if self.freeze_encoder_fraction and self.tune != "all":
            raise ValueError(f"'freeze_encoder_fraction' needs tune=all; with tune={self.tune} remove it")
        return self

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a classifier of slices."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.lifting.lift import lift
        from dimlift.methods.slice_classifier.lora import add_adapters
        from dimlift.methods.slice_classifier.method import SliceClassification
        from dimlift.models.slice_classifier import SliceClassifier
        from dimlift.models.slice_pooling import SliceAttention, SliceMean, SliceTransformer

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} has one output per volume; use task: classification or regression")
        encoder = lift(
            self.network,
            DepthPlan(kernel=1),
            in_chans=task.in_channels,
            features_only=True,
            certify=load_pretrained,
            image_size=self.image_size,
            upsample=self.upsample,
            **self._weight_options(load_pretrained),
        )
        if self.tune == "lora":
            add_adapters(encoder, self.rank)
        elif self.tune == "none":
            encoder.requires_grad_(False)
        poolings = {"attention": SliceAttention, "transformer": SliceTransformer}
        pooling: nn.Module = poolings[self.pooling](self.embed_dim) if self.pooling in poolings else SliceMean()
        model = SliceClassifier(
            encoder, task.num_classes, pooling, embed_dim=self.embed_dim, freeze_norm_stats=self.tune != "all"
        )
        return SliceClassification(
            model,
            task.kind,
            frozen=self.tune == "none",
            patch_size=task.patch_size,
            class_weights=task.class_weights,
            target_mean=task.target_mean,
            target_std=task.target_std,
            **self._training_options(),
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = no_progress,
    ) -> "tuple[float, SampleFeatures | None]":
        """Compute the slice features of every training volume, or read them from the cache."""
        from dimlift.data.sampling.patch_sampler import PatchSampler

        if not method.caches_features:
            return 0.0, None
        store, seconds = method.cache_features(cache / "slices"), 0.0
        for number, sample in enumerate(samples):
            sampler = PatchSampler([sample], method.patch_size, augment=False, task=method.task)
            seconds += store.timed(sampler.batch(0, 1).image[0])[1]
            progress(Event("features", fraction=(number + 1) / len(samples)))
        return seconds, None

    def preparation_cost(self, method: Any, samples: "Sequence[Sample]") -> "PreparationCost | None":
        """Return the cost of the slice features, from two timed slices; None if they are not cached."""
        import time

        import torch

        from dimlift.methods.preparation_cost import PreparationCost

        if not method.caches_features:
            return None
        depth, height, width = method.patch_size
        slices = torch.full((1, samples[0].image.shape[0], 2, height, width), 0.5)
        with torch.no_grad():
            method.model.slice_features(slices)  # the first call selects convolution algorithms
            start = time.perf_counter()
            channels = method.model.slice_features(slices).shape[-1]
        seconds = (time.perf_counter() - start) / 2 * depth
        return PreparationCost(len(samples), 4 * channels * depth * len(samples), seconds * len(samples))
