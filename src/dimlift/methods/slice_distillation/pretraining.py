"""Configuration of slice distillation."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.errors import ConfigError
from dimlift.methods.frozen_features.config import extract_features
from dimlift.methods.frozen_features.feature_config import FeatureExtractionConfig
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.methods.method import Method


class SliceDistillationPretraining(FeatureExtractionConfig, Pretraining):
    """Predict the principal components of a 2D network's features at every voxel."""

    method: Literal["slice_distillation"] = Field(
        default="slice_distillation", description="Predict the slice features of a frozen 2D network."
    )
    num_components: int = Field(default=48, ge=1, description="Number of principal components of all maps together.")
    cosine_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Weight of the cosine distance in the loss; the squared distance has the rest."
    )

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return a segmentation with one output per component."""
        return replace(task, kind="segmentation", num_classes=self.num_components)

    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the student, the frozen network, and the projection fitted on the volumes.

        Raises:
            ConfigError: without a network.
        """
        from dimlift.methods.slice_distillation.method import SliceDistillation

        if model is None:
            raise ConfigError("'arm' is missing: slice_distillation pretrains the network of an arm; name one")
        return SliceDistillation(
            model, self.extractor(data.seed), self.num_components, cosine_weight=self.cosine_weight
        )

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Extract the features of every volume, or load them from the cache; return batches of patches with both."""
        seconds, features = extract_features(method, data.samples, data.cache, progress)
        sampler, size = data.patch_sampler(features, method.feature_stride), data.training.batch_size
        return seconds, lambda step: sampler.batch(step, size)
