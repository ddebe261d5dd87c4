"""3D networks with weights that others trained on volumes: what 2D knowledge has to beat."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from dimlift.config.method_config import Arm, Task
from dimlift.config.sections import LATER
from dimlift.methods.baselines.unets import require_segmentation

if TYPE_CHECKING:
    from torch import nn

    from dimlift.models.medicalnet import ResNetName


class Pretrained3DArm(Arm):
    """A 3D network that starts from weights trained on volumes: nnU-Net's residual encoder, MedicalNet's, MONAI's."""

    method: Literal["pretrained_3d"] = Field(
        default="pretrained_3d", description="3D network that starts from weights trained on volumes."
    )
    network: Literal[
        "resenc", "resnet10", "resnet18", "resnet34", "resnet50", "monai:UNet", "monai:AttentionUnet",
        "monai:BasicUNet", "monai:DynUNet", "monai:SegResNet", "monai:SwinUNETR",
    ] = Field(
        default="resenc",
        description="`resenc`: nnU-Net's residual encoder U-Net (OpenMind's ResEnc-L and its kin); `resnet..`: "
        "MedicalNet's, with a U-Net's decoder; `monai:..`: that class of MONAI, built with `options`.",
    )  # fmt: skip
    options: dict[str, Any] = Field(
        default={},
        json_schema_extra=LATER,
        description="`monai:..`: arguments of the class, as in the `network_def` of the bundle the weights come from.",
    )
    weights: str | None = Field(
        default=None,
        description="A .safetensors, .pt or .pth file, fitted by name and shape; null for random weights, the control.",
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
    def _a_block_count_for_each_stage(self) -> "Pretrained3DArm":
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"{len(self.widths)} 'widths' but {len(self.blocks)} 'blocks'; give one for each stage")
        if self.options and not self.network.startswith("monai:"):
            raise ValueError(f"'options' are for networks of MONAI, this is {self.network}; leave them out")
        return self

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """The network, its weights in place.

        Raises:
            ConfigError: if a network of MONAI does not take these options.
            WeightsError: if the file cannot be read, or holds another network.
        """
        from dimlift.methods.supervised.volumes import Supervised
        from dimlift.models.load_3d_weights import fill_encoder
        from dimlift.models.medicalnet import medicalnet_unet
        from dimlift.models.monai_networks import AxesTurned, monai_network
        from dimlift.models.residual_unet import residual_unet

        require_segmentation(self.method, task)
        if self.network == "resenc":
            model = residual_unet(task.in_channels, task.classes, widths=self.widths, blocks=self.blocks)
        elif self.network.startswith("monai:"):
            model = monai_network(self.network.removeprefix("monai:"), task.in_channels, task.classes, self.options)
        else:
            model = medicalnet_unet(task.in_channels, task.classes, cast("ResNetName", self.network))
        method = Supervised(model)
        if fresh and self.weights is not None:
            published = model.network.network if isinstance(model.network, AxesTurned) else model.network
            method.notes = [fill_encoder(published, Path(self.weights))]  # type: ignore[assignment]
        return method
