"""A plain 3D ResNet from scratch: what a user would otherwise pick for one answer a volume."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from dimlift.config.method_config import Arm, Task
from dimlift.errors import ConfigError
from dimlift.methods.supervised.volumes import volume_method

if TYPE_CHECKING:
    from torch import nn


class ResNetArm(Arm):
    """Plain 3D ResNet from scratch: MONAI's."""

    method: Literal["resnet"] = Field(default="resnet", description="Plain 3D ResNet from scratch.")
    layers: Literal[10, 18, 34, 50] = Field(default=18, description="Number of layers.")
    widths: tuple[int, int, int, int] = Field(
        default=(32, 64, 128, 256),
        description="Channels of the four stages, multiples of 8; the paper has twice as many.",
    )

    @field_validator("widths")
    @classmethod
    def _in_groups(cls, widths: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        if any(width % 8 or width < 8 for width in widths):
            raise ValueError(f"widths are normalised in 8 groups, got {list(widths)}; use multiples of 8")
        return widths

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A ResNet with fresh weights."""
        from dimlift.models.resnet import plain_resnet

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} gives one answer for a volume; use task: classification or regression")
        if task.gradient_checkpointing:
            raise ConfigError(
                f"method {self.method!r} has no gradient checkpointing; set training.gradient_checkpointing=false"
            )
        return volume_method(plain_resnet(task.in_channels, task.classes, layers=self.layers, widths=self.widths), task)
