"""A frozen or gently tuned 2D network on every slice, and attention over slices: one answer for a volume."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import Task
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import FromTwoDimensions
from dimlift.progress import Event, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from dimlift.data.preprocessing.sample import Sample


class SliceClassifierArm(FromTwoDimensions):
    """A 2D network on every slice and attention over slices, one answer for a volume."""

    method: Literal["slice_classifier"] = Field(
        default="slice_classifier", description="2D network on every slice, attention over slices."
    )
    tune: Literal["none", "lora", "all"] = Field(
        default="none",
        description="What of the 2D network learns: nothing (what it sees is then kept, and volumes are not "
        "augmented), low-rank adapters, or every weight.",
    )
    rank: int = Field(default=8, ge=1, description="Width of the adapters of `tune: lora`.")
    pooling: Literal["attention", "transformer", "mean"] = Field(
        default="attention", description="How slices become one answer; `transformer` lets them read each other first."
    )
    width: int = Field(default=128, ge=4, multiple_of=4, description="Length of a slice's vector when it is pooled.")
    image_size: int | None = Field(default=None, ge=1, description="Slice size of networks that want a fixed one.")
    enlarge: int = Field(default=1, ge=1, description="Show the network each slice so many times as high and wide.")

    @model_validator(mode="after")
    def _only_what_learns_can_wait(self) -> Self:
        if self.freeze_encoder_until and self.tune != "all":
            raise ValueError(f"'freeze_encoder_until' is for tune=all; with tune={self.tune} leave it out")
        return self

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A classifier of slices."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.lifting.lift import lift
        from dimlift.methods.slice_classifier.lora import add_adapters
        from dimlift.methods.slice_classifier.method import SliceClassification
        from dimlift.models.slice_classifier import SliceClassifier
        from dimlift.models.slice_pooling import SliceAttention, SliceMean, SliceTransformer

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} gives one answer for a volume; use task: classification or regression")
        encoder = lift(
            self.network,
            DepthPlan(kernel=1),
            in_channels=task.in_channels,
            features_only=True,
            certify=fresh,
            image_size=self.image_size,
            enlarge=self.enlarge,
            **self._start(fresh),
        )
        if self.tune == "lora":
            add_adapters(encoder, self.rank)
        elif self.tune == "none":
            encoder.requires_grad_(False)
        poolings = {"attention": SliceAttention, "transformer": SliceTransformer}
        pooling: nn.Module = poolings[self.pooling](self.width) if self.pooling in poolings else SliceMean()
        model = SliceClassifier(encoder, task.classes, pooling, width=self.width, still=self.tune != "all")
        return SliceClassification(
            model,
            task.kind,
            frozen=self.tune == "none",
            patch_size=task.patch_size,
            class_weights=task.class_weights,
            target_mean=task.target_mean,
            target_deviation=task.target_deviation,
            **self._learning(),
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = silent,
        later: int = 0,
    ) -> "tuple[float, list[list[list[Tensor]]] | None]":
        """Look at the slices of every training volume, or find what was seen in the cache."""
        from dimlift.data.sampling.patch_sampler import PatchSampler

        if not method.remembers:
            return 0.0, None
        store, seconds = method.remember(cache / "slices"), 0.0
        for number, sample in enumerate(samples):
            alone = PatchSampler([sample], method.patch_size, augment=False, task=method.task)
            seconds += store.timed(alone.batch(0, 1).image[0])[1]
            progress(Event("features", share=(number + 1) / len(samples)))
        return seconds, None
