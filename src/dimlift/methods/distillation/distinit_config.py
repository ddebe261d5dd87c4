"""A 3D network learns the answers of several image networks for slices of volumes without labels (DistInit)."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.config.sections import Section
from dimlift.errors import ConfigError
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.methods.teachers.teacher import Teacher


class TeacherSection(Section):
    """One image network with its head."""

    network: str = Field(description="The 2D network, `SOURCE:NAME`.")
    weights: str | None = Field(
        default=None, description="File with its weights, head included, instead of the source's own."
    )


class DistInitPretraining(Pretraining):
    """The student answers for a volume what image networks answer for one of its slices."""

    method: Literal["distinit"] = Field(
        default="distinit", description="Learn the answers of frozen image networks for single slices."
    )
    teachers: tuple[TeacherSection, ...] = Field(
        min_length=1,
        description="The image networks; the student gets a head for each, which is left behind afterwards.",
    )
    picture_size: int = Field(default=224, ge=8, description="Height and width slices are shown to the teachers at.")

    @cached_property
    def _opened(self) -> "tuple[tuple[Teacher, int], ...]":
        """Each teacher with the number of its classes."""
        import torch

        from dimlift.methods.teachers.teacher import open_teacher

        found = []
        for section in self.teachers:
            teacher = open_teacher(section.network, pretrained=section.weights is None, weights=section.weights)
            blank = torch.zeros(1, 3, self.picture_size, self.picture_size)
            found.append((teacher, teacher.logits(blank).shape[1]))
        return tuple(found)

    def student_task(self, task: Task) -> Task:
        """One answer for a volume, an output for each class of each teacher."""
        return replace(task, kind="classification", classes=sum(classes for _, classes in self._opened))

    def build(self, student: "nn.Module | None", pool: Pool) -> "nn.Module":
        """The student and its teachers.

        Raises:
            ConfigError: without a student.
        """
        from dimlift.methods.distillation.distinit import DistInit

        if student is None:
            raise ConfigError("'student' is missing: distinit teaches the network of an arm; name one that classifies")

        teachers, classes = zip(*self._opened, strict=True)
        return DistInit(student, teachers, classes)

    def batches(self, method: Any, pool: Pool, progress: Progress = silent) -> "tuple[float, Callable[[int], Batch]]":
        """Patches, and one slice of each."""
        from dimlift.methods.distillation.distinit import with_drawn_slices

        sampler, size = pool.patches(), pool.training.batch_size

        def draw(step: int) -> "Batch":
            return with_drawn_slices(sampler.batch(step, size), self.picture_size, pool.seed, step)

        return 0.0, draw
