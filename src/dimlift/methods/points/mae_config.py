"""The ways of learning from clouds without labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.config.sections import PositiveFloat, Published, WithPresets
from dimlift.errors import ConfigError
from dimlift.methods.points.config import COORDINATES
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.methods.teachers.teacher import Teacher

Masked = Annotated[float, Field(gt=0, lt=1)]
Blocks = Annotated[int, Field(ge=1)]
ViewSize = Annotated[int, Field(ge=32)]


class PointPretraining(Pretraining):
    """A way of learning from clouds: the student is a network of points."""

    needs_volumes: ClassVar[bool] = False
    needs_clouds: ClassVar[bool] = True

    def student_task(self, task: Task) -> Task:
        """No head: nothing asks for an answer yet."""
        return replace(task, kind="classification", in_channels=COORDINATES, classes=0, class_weights=None)

    def batches(self, method: Any, pool: Pool, progress: Progress = silent) -> "tuple[float, Callable[[int], Batch]]":
        """Clouds drawn by the step; nothing is computed first."""
        if pool.clouds is None:
            raise ConfigError(f"'clouds' is missing: {self.method} learns from points; set clouds.path")
        sampler = pool.clouds
        return 0.0, lambda step: sampler.batch(step, pool.training.batch_size)


class PointMAEPretraining(WithPresets, PointPretraining):
    """Foresee the points of masked patches: Point-MAE, and with several levels Point-M2AE."""

    published: ClassVar[dict[str, dict[str, Any]]] = {
        "point_mae": {"masked": 0.6, "blocks": 4},
        "point_m2ae": {"masked": 0.8, "blocks": 1},
    }

    preset: Literal["none", "point_mae", "point_m2ae"] = Field(
        default="none",
        description="What was published, wherever a key is not given: `point_mae` for a student of one level, "
        "`point_m2ae` for `point_hierarchy`.",
    )
    method: Literal["point_mae"] = Field(default="point_mae", description="Foresee the points of masked patches.")
    masked: Masked = Field(default=0.6, description="Share of the coarsest patches that is hidden; Point-M2AE has 0.8.")
    blocks: Blocks = Field(default=4, description="Blocks of the decoder at each level; Point-M2AE has 1.")

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """No 2D network is asked."""
        from dimlift.methods.points.point_mae import PointMAE

        return PointMAE(student, masked=self.masked, blocks=self.blocks)


class JointMAEPretraining(PointPretraining):
    """Foresee masked points and masked pixels of the same cloud's depth picture together: Joint-MAE."""

    method: Literal["joint_mae"] = Field(default="joint_mae", description="Foresee masked points and pixels together.")
    masked: Masked = Field(default=0.75, description="Share of the coarsest patches, and of pixels, that is hidden.")
    radius: PositiveFloat = Field(
        default=0.3,
        description="How far apart in the picture a point and a pixel may be to listen to each other, in its half "
        "widths; not from authors' code.",
    )
    shared: Blocks = Field(default=2, description="Blocks of the decoder of both; not from authors' code.")
    specific: Blocks = Field(default=1, description="Blocks of the decoder of each; not from authors' code.")
    weight: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Weight of the cross-reconstruction; not from authors' code."
    )
    view_size: ViewSize = Field(default=224, description="Height and width of pictures, a multiple of 16.")

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """No pretrained 2D network: the picture's tokens are learnt beside the points'."""
        from dimlift.methods.points.joint_mae import JointMAE

        return JointMAE(student, **self.model_dump(exclude={"method"}))


class TaughtPretraining(PointPretraining):
    """A way in which a frozen 2D network takes part."""

    network: str = Field(default="timm:vit_small_patch14_dinov2", description="The 2D network, `SOURCE:NAME`.")
    weights: str | None = Field(default=None, description="File with its weights, instead of the source's.")
    pretrained: bool | None = Field(
        default=None, description="Read the source's weights; not set: where `weights` is given or it brings them."
    )
    view_size: ViewSize = Field(default=224, description="Height and width of the pictures it is shown.")

    def teacher(self) -> "Teacher":
        """The frozen 2D network; a transformer takes pictures of any size."""
        from dimlift.methods.teachers.teacher import open_map_teacher

        return open_map_teacher(self.network, pretrained=self.pretrained, weights=self.weights)


class I2PMAEPretraining(Published, TaughtPretraining):
    """Foresee masked points and, of what is seen, a frozen 2D network's features: I2P-MAE."""

    published: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "network": "timm:vit_base_patch16_clip_224.openai",
            "view_size": 224,
            "masked": 0.8,
            "blocks": 1,
            "saliency_temperature": 1.0,
            "weight": 1.0,
        }
    }

    method: Literal["i2p_mae"] = Field(default="i2p_mae", description="Masked points guided by a 2D network.")
    masked: Masked = Field(default=0.8, description="Share of the coarsest patches that is hidden.")
    blocks: Blocks = Field(default=1, description="Blocks of the decoder at each level.")
    saliency_temperature: PositiveFloat = Field(
        default=1.0, description="Of the draw of visible patches by saliency; the published 1 is nearly random."
    )
    standardise: bool = Field(
        default=False, description="Give saliencies of a cloud deviation one first; not in the authors' code."
    )
    weight: Annotated[float, Field(ge=0)] = Field(default=1.0, description="Weight of the 2D features in the loss.")

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """Student and teacher."""
        from dimlift.methods.points.i2p_mae import I2PMAE

        teacher = self.teacher()
        options = self.model_dump(exclude={"method", "preset", "network", "weights", "pretrained"})
        return I2PMAE(student, teacher, **options)


class CrossPointPretraining(TaughtPretraining):
    """Know a cloud again, turned or as a picture: contrast in the manner of CrossPoint."""

    method: Literal["crosspoint"] = Field(default="crosspoint", description="Contrast of clouds and pictures of them.")
    temperature: PositiveFloat = Field(default=0.1, description="Of the softmax over the batch.")
    width: Annotated[int, Field(ge=2)] = Field(default=256, description="Numbers in which both are compared.")

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """Student and teacher."""
        import torch

        from dimlift.methods.points.crosspoint import CrossPoint

        teacher = self.teacher()
        channels = teacher.vectors(torch.zeros(1, 3, self.view_size, self.view_size)).shape[1]
        options: dict[str, Any] = {"temperature": self.temperature, "width": self.width, "view_size": self.view_size}
        return CrossPoint(student, teacher, channels, **options)
