"""Configuration of Medical Transformer: a 2D network on slices of three planes, a transformer on their sequences."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PaperPreset
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import DecoderConfig
from dimlift.methods.supervised.volumes import supervised_method

if TYPE_CHECKING:
    from dimlift.methods.method import Method

NETWORK_PRESET: dict[str, Any] = {
    "network": "timm:resnet18",
    "layer_width": 512,
    "planes": ("depth", "height", "width"),
}
"""Settings of the published network as far as they are known; its depth is not."""


class MedicalTransformerConfig(PaperPreset, DecoderConfig):
    """Medical Transformer: slices of three planes, each plane a sequence of a transformer."""

    supports_gradient_checkpointing: ClassVar[bool] = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": NETWORK_PRESET}

    method: Literal["medical_transformer"] = Field(
        default="medical_transformer", description="2D network on slices of three planes, a transformer on sequences."
    )
    preset: Literal["none", "paper"] = Field(
        default="none",
        description="`paper` uses what is known of the published network as defaults of the other keys.",
    )
    planes: tuple[Literal["depth", "height", "width"], ...] = Field(
        default=("depth", "height", "width"), min_length=1, description="Axes across which slices are cut."
    )
    layer_width: int = Field(default=256, ge=1, description="Channels of a slice's vector in the transformer.")
    layers: int = Field(default=4, ge=1, description="Number of layers of the transformer.")
    heads: int = Field(default=8, ge=1, description="Attention heads; a divisor of `layer_width`.")

    @model_validator(mode="after")
    def _check_transformer(self) -> Self:
        if self.layer_width % self.heads:
            raise ValueError(f"'layer_width' {self.layer_width} is not divisible by 'heads' {self.heads}")
        if "depth" not in self.planes or len(set(self.planes)) < len(self.planes):
            raise ValueError(f"'planes' is {list(self.planes)}; it needs depth, and each plane at most once")
        return self

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the encoder with a decoder for segmentation, or with a linear layer for one output per volume."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.models.medical_transformer import PlaneClassifier, PlaneTransformer

        if self.image_size is not None:
            raise ConfigError(
                "slices of three planes have three sizes; remove image_size and use a convolutional network or one "
                "for any size"
            )
        slices = self._build_encoder(task, DepthPlan(kernel=1), load_pretrained)
        encoder = PlaneTransformer(
            slices, width=self.layer_width, layers=self.layers, heads=self.heads, planes=self.planes
        )
        if task.kind == "segmentation":
            return self._task_method(encoder, task)
        return supervised_method(PlaneClassifier(encoder, task.num_classes), task, **self._training_options())
