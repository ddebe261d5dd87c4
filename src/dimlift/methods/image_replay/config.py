"""Configuration of image replay: a lifted network that keeps its 2D predictions (Simple3D-Former's distillation)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PaperPreset, PositiveFloat
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import Backbone2DConfig, LiftedConfig
from dimlift.methods.simple3d.config import SIMPLE3D_PAPER, Simple3DConfig
from dimlift.methods.supervised.volumes import supervised_method
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimlift.batch import Batch
    from dimlift.data.io.images import ImageFolder
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.methods.method import Method


REPLAY_PAPER: dict[str, Any] = {"distill_weight": 0.1, "temperature": 1.0, "image_batch_size": 64}
"""With batches of 64 volumes; the authors' code also uses `hard_labels: true`, in contrast to their paper."""


class ImageReplayOptions(PaperPreset, Backbone2DConfig):
    """Options of methods that distil the 2D teacher on images in every step."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": REPLAY_PAPER}

    image_dir: str = Field(description="Folder of images, searched recursively; labels are not used.")
    distill_weight: float = Field(
        default=0.1, ge=0, description="Weight of the distillation loss; 0 trains on no images and only measures."
    )
    temperature: PositiveFloat = Field(
        default=1.0, description="Temperature of the softmax of both networks; the loss is scaled by its square."
    )
    hard_labels: bool = Field(
        default=False,
        description="Use the teacher's predicted class instead of its probabilities, as in the authors' code.",
    )
    image_batch_size: int = Field(default=4, ge=1, description="Images of a step, in addition to the patches.")
    image_crop_size: int = Field(default=224, ge=8, description="Height and width of image crops, in pixels.")
    num_val_images: int = Field(
        default=64, ge=0, description="Images that are not trained on; the teacher agreement is measured on them."
    )
    teacher_weights: str | None = Field(
        default=None, description="Weights file of the teacher, its head included; `weights` if not set."
    )

    def _make_method(self, model: "nn.Module", task: TaskSpec) -> "Method[Any]":
        from dimlift.methods.image_replay.method import ImageReplayDistillation

        return supervised_method(
            model,
            task,
            ImageReplayDistillation,
            distill_weight=self.distill_weight,
            temperature=self.temperature,
            hard_labels=self.hard_labels,
            **self._training_options(),
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: Path,
        progress: Progress = no_progress,
    ) -> "tuple[float, list[list[list[Tensor]]] | None]":
        """Open the teacher, and measure the agreement of both networks before training."""
        from dimlift.data.io.images import read_centre_crop, split_images
        from dimlift.methods.teachers.teacher import open_teacher

        weights = self.teacher_weights or self.weights
        teacher = open_teacher(self.network, pretrained=weights is None, weights=weights)
        probe = split_images(self._images(), self.num_val_images)[1]
        method.set_teacher(teacher, [read_centre_crop(path, self.image_crop_size) for path in probe.paths])
        return 0.0, None

    def wrap_batches(self, batch_at: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """Add images to the patches of each step, unless `distill_weight` is 0."""
        from dimlift.batch import PairedBatch
        from dimlift.data.io.images import ImageSampler, split_images

        if not self.distill_weight:
            return batch_at
        images = ImageSampler(split_images(self._images(), self.num_val_images)[0], self.image_crop_size, seed=seed)
        return lambda step: PairedBatch(batch_at(step), images.batch(step, self.image_batch_size))  # type: ignore[arg-type]

    def hashed_fields(self) -> dict[str, Any]:
        """Return the options that determine the result; images count by relative name and size."""
        images, folder = self._images(), Path(self.image_dir)
        listing = repr([(str(path.relative_to(folder)), path.stat().st_size) for path in images.paths])
        return {**super().hashed_fields(), "image_dir": hashlib.sha256(listing.encode()).hexdigest()}

    def _images(self) -> "ImageFolder":
        from dimlift.data.io.images import find_images

        return find_images(self.image_dir)


class ImageReplayConfig(ImageReplayOptions, LiftedConfig):
    """The `lifted` method with image replay."""

    method: Literal["image_replay"] = Field(  # type: ignore[assignment]
        default="image_replay", description="2D network lifted to 3D, distilled from its 2D original on images."
    )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build a lifted network; the teacher is opened by `prepare` and not needed after training.

        Raises:
            ConfigError: for a network without a classification head.
        """
        if self.network.startswith("smp:"):
            raise ConfigError(f"{self.method!r} needs an image classifier, {self.network} is a segmentation network")
        return super().build(task, load_pretrained=load_pretrained)


class Simple3DImageReplayConfig(ImageReplayOptions, Simple3DConfig):
    """Complete Simple3D-Former: voxel tokens with image replay."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": SIMPLE3D_PAPER | REPLAY_PAPER}

    method: Literal["simple3d_image_replay"] = Field(  # type: ignore[assignment]
        default="simple3d_image_replay", description="`simple3d`, distilled from its 2D network on images."
    )
