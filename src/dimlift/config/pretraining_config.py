"""Base of all pretraining methods, and the data they train on."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import Section, TrainingSection
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from dimlift.batch import Batch
    from dimlift.data.io.images import ImageFolder
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.data.rgbd.recordings import FrameFiles
    from dimlift.data.sampling.patch_sampler import PatchSampler
    from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler
    from dimlift.methods.method import Method


@dataclass(frozen=True)
class FrameData:
    """RGB-D frames and how points and pairs are sampled from them (`dimlift.data.sampling.rgbd_pair_sampler`)."""

    files: "tuple[FrameFiles, ...]"
    stride: int
    tolerance: float
    num_pairs: int
    up_axis: int


@dataclass(frozen=True)
class PretrainingData:
    """Data of one pretraining.

    Attributes:
        task: task of the arm's network; classes are those of the images, or set by the method.
        samples: preprocessed volumes, without labels.
        images: None without `images` in the configuration.
        training: options of the training loop.
        seed: the only source of randomness.
        cache: folder for results that other runs can reuse.
        frames: RGB-D frames; None without `frames` in the configuration.
        point_clouds: sampler of point clouds; None if the method does not train on them.
    """

    task: TaskSpec
    samples: "list[Sample]"
    images: "ImageFolder | None"
    training: TrainingSection
    seed: int
    cache: "Path"
    frames: FrameData | None = None
    point_clouds: "PointCloudSampler | None" = None

    def patch_sampler(
        self, features: "list[list[list[Tensor]]] | None" = None, feature_stride: int = 1
    ) -> "PatchSampler":
        """Return the sampler of unlabelled patches.

        Args:
            features: features of each volume, sampled together with its patches.
            feature_stride: voxels of the image per voxel of the features.
        """
        from dimlift.data.sampling.augmentation import Augmentation
        from dimlift.data.sampling.patch_sampler import PatchSampler

        return PatchSampler(
            self.samples,
            self.task.patch_size,
            seed=self.seed,
            augment=Augmentation(mirror_axes=self.training.mirror_axes) if self.training.augment else False,
            labelled=False,
            features=features,
            feature_stride=feature_stride,
        )


class Pretraining(Section):
    """Base of pretraining methods: options, and a loss for the network of an arm.

    Attributes:
        needs_volumes, needs_images, needs_frames, needs_point_clouds: data the method trains on.
        needs_arm: whether it pretrains the network of an arm; otherwise it has a network of its own.
        evaluated_batches: number of the last training batches whose loss is computed once more after training, for
            `Method.report`.
    """

    needs_volumes: ClassVar[bool] = True
    needs_images: ClassVar[bool] = False
    needs_frames: ClassVar[bool] = False
    needs_point_clouds: ClassVar[bool] = False
    needs_arm: ClassVar[bool] = True
    evaluated_batches: ClassVar[int] = 0

    method: str = Field(description="Name of the method.")

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return the task for which the arm's network is built, if the method needs other outputs."""
        return task

    @abstractmethod
    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the method around a network.

        Args:
            model: network of the arm, (B, C, D, H, W) -> output; None if the method has its own. The attribute `model`
                of the method is saved.
        """

    @abstractmethod
    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Compute what is needed before training; return the seconds this takes, and the batch of each step."""
