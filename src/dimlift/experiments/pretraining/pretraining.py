"""What every way of pretraining has in common, and what it may work with."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dimlift.experiments.arms.arm import Task
from dimlift.experiments.progress import Progress, silent
from dimlift.experiments.sections import Section, TrainingSection

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from dimlift.batches import Batch
    from dimlift.data.pictures import Pictures
    from dimlift.data.sample import Sample


@dataclass(frozen=True)
class Pool:
    """What there is to learn from.

    Attributes:
        task: what the student is built for; its classes are the method's own choice.
        samples: preprocessed volumes; their labels are not looked at unless the method says so.
        pictures: None where no folder was given.
        training: the training loop's settings.
        seed: the only source of chance.
        cache: folder for what other runs can use again.
    """

    task: Task
    samples: "list[Sample]"
    pictures: "Pictures | None"
    training: TrainingSection
    seed: int
    cache: "Path"


class Pretraining(Section):
    """One way of pretraining: a loss of its own for the network of an arm."""

    needs_volumes: ClassVar[bool] = True
    needs_pictures: ClassVar[bool] = False

    method: str = Field(description="Name of the method.")

    def student_task(self, task: Task) -> Task:
        """What the student is built for, where the method wants other outputs than the task's."""
        return task

    @abstractmethod
    def build(self, student: "nn.Module", pool: Pool) -> "nn.Module":
        """A module with `loss(batch)`, `parameter_groups(rate)` and `set_progress(share)` around the student.

        Args:
            student: the network of the arm, (B, C, D, H, W) -> its answer. What is trained of it is what is saved.
        """

    @abstractmethod
    def batches(
        self, method: "nn.Module", pool: Pool, progress: Progress = silent
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Whatever has to be computed first, the seconds that takes, and the batch of each step."""
