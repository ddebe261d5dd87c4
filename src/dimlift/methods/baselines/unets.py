"""3D U-Nets from scratch, plain ones and with transformers: what a user would otherwise pick."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from dimlift.config.method_config import Arm, Task
from dimlift.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


class FromScratch(Arm):
    """A segmentation network with fresh weights."""

    @abstractmethod
    def network(self, task: Task) -> "nn.Module":
        """The network; (B, C, D, H, W) -> logits of every voxel."""

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """The network, and what it is trained with."""
        from dimlift.methods.supervised.volumes import Supervised

        require_segmentation(self.method, task)
        return Supervised(self.network(task))


class UNetArm(FromScratch):
    """Plain 3D U-Net from scratch: MONAI's."""

    method: Literal["unet"] = Field(default="unet", description="Plain 3D U-Net from scratch.")
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="Channels of the levels, finest first."
    )
    residual_units: int = Field(
        default=0, ge=0, description="Convolutions in each residual block; 0 for plain convolutions."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of channels dropped inside the blocks.")

    def network(self, task: Task) -> "nn.Module":
        """A U-Net with fresh weights."""
        from dimlift.models.unet import plain_unet

        return plain_unet(
            task.in_channels,
            task.classes,
            widths=self.widths,
            residual_units=self.residual_units,
            dropout=self.dropout,
        )


class NNUNetArm(FromScratch):
    """nnU-Net's own network, its depth and kernels chosen from patch and spacing, from scratch."""

    method: Literal["nnunet"] = Field(default="nnunet", description="nnU-Net's own network from scratch.")
    widths: tuple[int, ...] = Field(
        default=(32, 64, 128, 256, 320, 320),
        min_length=3,
        description="Channels of the levels, finest first; as many as fit are used.",
    )

    def network(self, task: Task) -> "nn.Module":
        """A U-Net with fresh weights."""
        from dimlift.models.unet import nnunet_unet

        return nnunet_unet(
            task.in_channels,
            task.classes,
            patch_size=task.patch_size,
            spacing=task.spacing or (1.0, 1.0, 1.0),
            widths=self.widths,
        )


class SwinUNETRArm(FromScratch):
    """Swin UNETR from scratch: MONAI's."""

    method: Literal["swin_unetr"] = Field(default="swin_unetr", description="Swin UNETR from scratch.")
    width: int = Field(
        default=24,
        ge=12,
        multiple_of=12,
        description="Channels of the finest level, a multiple of 12; the paper has 48.",
    )

    def network(self, task: Task) -> "nn.Module":
        """A transformer U-Net with fresh weights."""
        from dimlift.models.unet_transformers import swin_unetr

        return swin_unetr(
            task.in_channels, task.classes, width=self.width, gradient_checkpointing=task.gradient_checkpointing
        )


class UNETRArm(FromScratch):
    """UNETR from scratch: MONAI's."""

    method: Literal["unetr"] = Field(default="unetr", description="UNETR from scratch.")
    width: int = Field(default=16, ge=1, description="Channels at full resolution.")
    hidden: int = Field(
        default=384, ge=1, description="Channels of the transformer, a multiple of `heads`; the paper has 768."
    )
    heads: int = Field(default=6, ge=1, description="Attention heads; the paper has 12.")

    @model_validator(mode="after")
    def _heads_share_channels(self) -> "UNETRArm":
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads cannot share {self.hidden} channels; use a multiple for 'hidden'")
        return self

    def network(self, task: Task) -> "nn.Module":
        """A transformer U-Net with fresh weights, for volumes as large as a training patch."""
        from dimlift.models.unet_transformers import unetr

        return unetr(
            task.in_channels,
            task.classes,
            patch_size=task.patch_size,
            width=self.width,
            hidden=self.hidden,
            heads=self.heads,
        )


def require_segmentation(method: str, task: Task) -> None:
    """Raises: ConfigError, for tasks about whole volumes and options the method lacks."""
    if task.kind != "segmentation":
        raise ConfigError(
            f"method {method!r} does segmentation only, the task is {task.kind}; use 'lifted', 'slices' or 'resnet'"
        )
    if task.gradient_checkpointing and method not in ("slices", "lifted", "convnext3d", "swin_unetr"):
        raise ConfigError(f"method {method!r} has no gradient checkpointing; set training.gradient_checkpointing=false")
