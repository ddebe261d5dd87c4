"""Configuration bases of methods that pretrain on point clouds."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.errors import ConfigError
from dimlift.methods.point_networks.base import NUM_COORDINATES
from dimlift.methods.teachers.config import MapTeacherConfig
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from dimlift.batch import Batch

MaskRatio = Annotated[float, Field(gt=0, lt=1)]
Depth = Annotated[int, Field(ge=1)]
RenderSize = Annotated[int, Field(ge=32)]
LossWeight = Annotated[float, Field(ge=0)]


class PointCloudPretraining(Pretraining):
    """Base of methods that pretrain the encoder of a point network."""

    needs_volumes: ClassVar[bool] = False
    needs_point_clouds: ClassVar[bool] = True

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return the task of a network without a head."""
        return replace(task, kind="classification", in_channels=NUM_COORDINATES, num_classes=0, class_weights=None)

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of point clouds; nothing is computed first."""
        if data.point_clouds is None:
            raise ConfigError(f"'point_clouds' is missing: {self.method} trains on point clouds; set point_clouds.path")
        sampler = data.point_clouds
        return 0.0, lambda step: sampler.batch(step, data.training.batch_size)


class PointTeacherPretraining(MapTeacherConfig, PointCloudPretraining):
    """Base of methods that distil a frozen 2D network."""

    network: str = Field(default="timm:vit_small_patch14_dinov2", description="2D network, `SOURCE:NAME`.")
    render_size: RenderSize = Field(default=224, description="Height and width of the rendered images, in pixels.")
