"""A 3D network learns to foresee what a frozen 2D network sees in every slice, on volumes without labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.errors import ConfigError
from dimlift.methods.frozen_features.config import features_of
from dimlift.methods.frozen_features.feature_config import Borrowing
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch


class SliceDistillationPretraining(Borrowing, Pretraining):
    """The student answers with the principal components of a 2D network's features, voxel by voxel."""

    method: Literal["slice_distillation"] = Field(
        default="slice_distillation", description="Foresee the slice features of a frozen 2D network."
    )
    components: int = Field(default=48, ge=1, description="Components that are foreseen, all maps together.")
    cosine: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Share of the loss that compares directions (1 - cosine) instead of values."
    )

    def student_task(self, task: Task) -> Task:
        """One output a component."""
        return replace(task, kind="segmentation", classes=self.components)

    def build(self, student: "nn.Module | None", pool: Pool) -> "nn.Module":
        """The student, the frozen network, and the projection that is fitted on the pool."""
        from dimlift.methods.distillation.slice_features import SliceDistillation

        if student is None:
            raise ConfigError("'student' is missing: slice_distillation teaches the network of an arm; name one")
        return SliceDistillation(student, self.extractor(pool.seed), self.components, cosine=self.cosine)

    def batches(self, method: Any, pool: Pool, progress: Progress = silent) -> "tuple[float, Callable[[int], Batch]]":
        """Features of every volume, from the cache where they are; then patches of both."""

        seconds, companions = features_of(method, pool.samples, pool.cache, progress)
        sampler, size = pool.patches(companions, method.feature_stride), pool.training.batch_size
        return seconds, lambda step: sampler.batch(step, size)
