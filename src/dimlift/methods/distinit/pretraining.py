"""Configuration of DistInit pretraining."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.config.sections import Section
from dimlift.errors import ConfigError
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.methods.method import Method
    from dimlift.methods.teachers.teacher import Teacher


class TeacherSection(Section):
    """One image classifier with its head."""

    network: str = Field(description="2D network, `SOURCE:NAME`.")
    weights: str | None = Field(
        default=None, description="Weights file of the 2D network, head included, instead of the source's weights."
    )


class DistInitPretraining(Pretraining):
    """Predict for a volume the classes that image classifiers predict for one of its slices."""

    method: Literal["distinit"] = Field(
        default="distinit", description="Predict the outputs of frozen image classifiers for single slices."
    )
    teachers: tuple[TeacherSection, ...] = Field(
        min_length=1,
        description="Image classifiers; the arm's network gets one head for each, which is dropped after pretraining.",
    )
    image_size: int = Field(
        default=224, ge=8, description="Height and width of the slices as passed to the teachers, in pixels."
    )

    @cached_property
    def _opened(self) -> "tuple[tuple[Teacher, int], ...]":
        """Each teacher with its number of classes."""
        import torch

        from dimlift.methods.teachers.teacher import open_teacher

        opened = []
        for section in self.teachers:
            teacher = open_teacher(section.network, pretrained=section.weights is None, weights=section.weights)
            blank = torch.zeros(1, 3, self.image_size, self.image_size)
            opened.append((teacher, teacher.logits(blank).shape[1]))
        return tuple(opened)

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return a classification with one output for each class of each teacher."""
        return replace(task, kind="classification", num_classes=sum(classes for _, classes in self._opened))

    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the student with its teachers.

        Raises:
            ConfigError: without a network.
        """
        from dimlift.methods.distinit.method import DistInit

        if model is None:
            raise ConfigError("'arm' is missing: distinit pretrains the network of an arm; name one that classifies")
        teachers, num_classes = zip(*self._opened, strict=True)
        return DistInit(model, teachers, num_classes)

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of patches, each with an image of one of its slices."""
        from dimlift.methods.distinit.method import pair_with_slices

        sampler, size = data.patch_sampler(), data.training.batch_size

        def batch_at(step: int) -> "Batch":
            return pair_with_slices(sampler.batch(step, size), self.image_size, data.seed, step)

        return 0.0, batch_at
