"""3D U-Nets trained from scratch, convolutional and with transformers: the usual baselines."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from dimlift.config.method_config import MethodConfig, TaskSpec

if TYPE_CHECKING:
    from torch import nn

    from dimlift.methods.method import Method

UNetStrides = Annotated[
    Literal["isotropic", "spacing"],
    Field(
        description="Strides between the levels: 2 along every axis, or by nnU-Net's rule (`spacing`): an axis is "
        "halved where its spacing is at most twice the finest."
    ),
]


class ScratchUNetConfig(MethodConfig):
    """Base of segmentation networks trained from scratch."""

    @abstractmethod
    def network(self, task: TaskSpec) -> "nn.Module":
        """Build the network, (B, C, D, H, W) -> logits (B, K, D, H, W), with random weights."""

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the network with supervised training."""
        from dimlift.methods.supervised.volumes import Supervised

        self.require_segmentation(task)
        return Supervised(self.network(task))


class UNetConfig(ScratchUNetConfig):
    """3D U-Net from scratch (MONAI)."""

    method: Literal["unet"] = Field(default="unet", description="3D U-Net from scratch.")
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="Channels of the levels, finest first."
    )
    residual_units: int = Field(
        default=0, ge=0, description="Convolutions per residual block; 0 for plain convolutions."
    )
    strides: UNetStrides = "isotropic"
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate inside the blocks.")

    def network(self, task: TaskSpec) -> "nn.Module":
        """Build a U-Net with random weights."""
        from dimlift.models.unet import plain_unet

        return plain_unet(
            task.in_channels,
            task.num_classes,
            widths=self.widths,
            residual_units=self.residual_units,
            strides=unet_strides(self.strides, task, len(self.widths)),
            dropout=self.dropout,
        )


class NNUNetConfig(ScratchUNetConfig):
    """Network of nnU-Net from scratch; depth and kernels follow from patch size and spacing."""

    method: Literal["nnunet"] = Field(default="nnunet", description="Network of nnU-Net from scratch.")
    widths: tuple[int, ...] = Field(
        default=(32, 64, 128, 256, 320, 320),
        min_length=3,
        description="Channels of the levels, finest first; the patch size limits the number of levels.",
    )

    def network(self, task: TaskSpec) -> "nn.Module":
        """Build a U-Net with random weights."""
        from dimlift.models.unet import nnunet_unet

        return nnunet_unet(
            task.in_channels,
            task.num_classes,
            patch_size=task.patch_size,
            spacing=task.spacing or (1.0, 1.0, 1.0),
            widths=self.widths,
        )


class SwinUNETRConfig(ScratchUNetConfig):
    """Swin UNETR from scratch (MONAI)."""

    supports_gradient_checkpointing: ClassVar[bool] = True

    method: Literal["swin_unetr"] = Field(default="swin_unetr", description="Swin UNETR from scratch.")
    feature_size: int = Field(
        default=24,
        ge=12,
        multiple_of=12,
        description="Channels of the finest level, a multiple of 12; 48 in the paper.",
    )

    def network(self, task: TaskSpec) -> "nn.Module":
        """Build a Swin UNETR with random weights."""
        from dimlift.models.unet_transformers import swin_unetr

        return swin_unetr(
            task.in_channels,
            task.num_classes,
            feature_size=self.feature_size,
            gradient_checkpointing=task.gradient_checkpointing,
        )


class UNETRConfig(ScratchUNetConfig):
    """UNETR from scratch (MONAI)."""

    method: Literal["unetr"] = Field(default="unetr", description="UNETR from scratch.")
    feature_size: int = Field(default=16, ge=1, description="Channels at full resolution.")
    hidden_size: int = Field(
        default=384, ge=1, description="Channels of the transformer, a multiple of `num_heads`; 768 in the paper."
    )
    num_heads: int = Field(default=6, ge=1, description="Attention heads; 12 in the paper.")

    @model_validator(mode="after")
    def _divisible(self) -> "UNETRConfig":
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}; choose a multiple"
            )
        return self

    def network(self, task: TaskSpec) -> "nn.Module":
        """Build a UNETR with random weights, for volumes of the size of a training patch."""
        from dimlift.models.unet_transformers import unetr

        return unetr(
            task.in_channels,
            task.num_classes,
            patch_size=task.patch_size,
            feature_size=self.feature_size,
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
        )


def unet_strides(rule: UNetStrides, task: TaskSpec, num_levels: int) -> "list[tuple[int, ...]] | None":
    """Return the strides between the levels of a U-Net for a task; None for 2 everywhere."""
    from dimlift.models.unet import strides_by_spacing

    if rule == "isotropic":
        return None
    return strides_by_spacing(task.patch_size, task.spacing or (1.0, 1.0, 1.0), num_levels)
