"""3D ResNet from scratch: the usual baseline of volume classification and regression."""

from typing import Any, Literal

from pydantic import Field, field_validator

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.errors import ConfigError
from dimlift.methods.method import Method
from dimlift.methods.supervised.volumes import supervised_method


class ResNetConfig(MethodConfig):
    """3D ResNet from scratch (MONAI)."""

    method: Literal["resnet"] = Field(default="resnet", description="3D ResNet from scratch.")
    layers: Literal[10, 18, 34, 50] = Field(default=18, description="Number of layers.")
    widths: tuple[int, int, int, int] = Field(
        default=(32, 64, 128, 256),
        description="Channels of the four stages, multiples of 8; twice as many in the paper.",
    )

    @field_validator("widths")
    @classmethod
    def _divisible_by_groups(cls, widths: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        if any(width % 8 or width < 8 for width in widths):
            raise ValueError(f"widths are normalised in 8 groups, got {list(widths)}; use multiples of 8")
        return widths

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a ResNet with random weights."""
        from dimlift.models.resnet import plain_resnet

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} has one output per volume; use task: classification or regression")
        self.require_gradient_checkpointing(task)
        network = plain_resnet(task.in_channels, task.num_classes, layers=self.layers, widths=self.widths)
        return supervised_method(network, task)
