"""What every way of pretraining has in common, and what it may work with."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.sections import Section, TrainingSection
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from dimlift.batch import Batch
    from dimlift.data.io.images import Pictures
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.data.rgbd.recordings import FrameFiles
    from dimlift.data.sampling.patch_sampler import PatchSampler
    from dimlift.data.sampling.point_cloud_sampler import CloudSampler


@dataclass(frozen=True)
class FramePool:
    """RGB-D frames, all of which can be read, and how points and pairs are taken from them (`data.pairs`)."""

    files: "tuple[FrameFiles, ...]"
    stride: int
    tolerance: float
    pairs: int


@dataclass(frozen=True)
class Pool:
    """What there is to learn from.

    Attributes:
        task: what the student is built for; it has the classes of the pictures, or as many as the method chooses.
        samples: preprocessed volumes; their labels are not looked at unless the method says so.
        pictures: None where no folder was given.
        training: the training loop's settings.
        seed: the only source of chance.
        cache: folder for what other runs can use again.
        frames: RGB-D frames; None where no folder was given.
        clouds: draws batches of clouds; None where no set was given.
    """

    task: Task
    samples: "list[Sample]"
    pictures: "Pictures | None"
    training: TrainingSection
    seed: int
    cache: "Path"
    frames: "FramePool | None" = None
    clouds: "CloudSampler | None" = None

    def patches(self, companions: "list[list[list[Tensor]]] | None" = None, stride: int = 1) -> "PatchSampler":
        """Draws patches of the volumes, without labels.

        Args:
            companions: features of each volume, if patches bring theirs along.
            stride: voxels between two of them.
        """
        from dimlift.data.sampling.augmentation import Augmentation
        from dimlift.data.sampling.patch_sampler import PatchSampler

        return PatchSampler(
            self.samples,
            self.task.patch_size,
            seed=self.seed,
            augment=Augmentation(mirror_axes=self.training.mirror_axes) if self.training.augment else False,
            labelled=False,
            companions=companions,
            companion_stride=stride,
        )


class Pretraining(Section):
    """One way of pretraining: a loss of its own for the network of an arm."""

    needs_volumes: ClassVar[bool] = True
    needs_pictures: ClassVar[bool] = False
    needs_frames: ClassVar[bool] = False
    needs_student: ClassVar[bool] = True
    """False where the method has a network of its own, and no arm's learns."""
    needs_clouds: ClassVar[bool] = False

    method: str = Field(description="Name of the method.")

    def student_task(self, task: Task) -> Task:
        """What the student is built for, where the method wants other outputs than the task's."""
        return task

    @abstractmethod
    def build(self, student: "nn.Module | None", pool: Pool) -> "nn.Module":
        """A module with `loss(batch)`, `parameter_groups(rate)` and `set_progress(share)` around the student.

        Args:
            student: the network of the arm, (B, C, D, H, W) -> its answer; None where the method needs none. The
                attribute `model` of what is built is what is saved.
        """

    @abstractmethod
    def batches(
        self, method: "nn.Module", pool: Pool, progress: Progress = silent
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Whatever has to be computed first, the seconds that takes, and the batch of each step."""
