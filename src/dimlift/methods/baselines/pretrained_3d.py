"""Baselines: published 3D networks that were pretrained on volumes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from dimlift.config.method_config import MethodConfig, TaskSpec

if TYPE_CHECKING:
    from dimlift.methods.method import Method
    from dimlift.models.medicalnet import ResNetName


class Pretrained3DConfig(MethodConfig):
    """3D network initialised from weights trained on volumes: nnU-Net residual encoder, MedicalNet or MONAI."""

    method: Literal["pretrained_3d"] = Field(
        default="pretrained_3d", description="3D network initialised from weights trained on volumes."
    )
    network: Literal[
        "resenc", "resnet10", "resnet18", "resnet34", "resnet50", "monai:UNet", "monai:AttentionUnet",
        "monai:BasicUNet", "monai:DynUNet", "monai:SegResNet", "monai:SwinUNETR",
    ] = Field(
        default="resenc",
        description="`resenc`: nnU-Net's residual encoder U-Net (ResEnc-L of OpenMind and others); `resnet..`: "
        "MedicalNet encoder with a U-Net decoder; `monai:..`: class of MONAI, built with `options`.",
    )  # fmt: skip
    options: dict[str, Any] = Field(
        default={},
        description="`monai:..`: arguments of the class, as in the `network_def` of the bundle the weights come from.",
    )
    weights: str | None = Field(
        default=None,
        description="A .safetensors, .pt or .pth file, matched by name and shape; null for random weights, the "
        "control.",
    )
    widths: tuple[int, ...] = Field(
        default=(32, 64, 128, 256, 320, 320),
        min_length=2,
        description="`resenc`: channels of the stages, finest first; the default is ResEnc-L.",
    )
    blocks: tuple[int, ...] = Field(
        default=(1, 3, 4, 6, 6, 6), min_length=2, description="`resenc`: residual blocks of each stage."
    )

    @model_validator(mode="after")
    def _consistent_options(self) -> "Pretrained3DConfig":
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"{len(self.widths)} 'widths' but {len(self.blocks)} 'blocks'; give one per stage")
        if self.options and not self.network.startswith("monai:"):
            raise ValueError(f"'options' apply to networks of MONAI, this is {self.network}; remove them")
        return self

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the network and load its weights.

        Raises:
            ConfigError: if a network of MONAI does not accept the options.
            WeightsError: if the file cannot be read, or holds another network.
        """
        from dimlift.methods.supervised.volumes import Supervised
        from dimlift.models.load_3d_weights import load_encoder_weights
        from dimlift.models.medicalnet import medicalnet_unet
        from dimlift.models.monai_networks import ReversedAxes, monai_network
        from dimlift.models.residual_unet import residual_unet

        self.require_segmentation(task)
        if self.network == "resenc":
            model = residual_unet(task.in_channels, task.num_classes, widths=self.widths, blocks=self.blocks)
        elif self.network.startswith("monai:"):
            model = monai_network(self.network.removeprefix("monai:"), task.in_channels, task.num_classes, self.options)
        else:
            model = medicalnet_unet(task.in_channels, task.num_classes, cast("ResNetName", self.network))
        method = Supervised(model)
        if load_pretrained and self.weights is not None:
            published = model.network.network if isinstance(model.network, ReversedAxes) else model.network
            method.notes = [load_encoder_weights(published, Path(self.weights))]
        return method
