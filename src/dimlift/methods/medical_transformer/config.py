"""Medical Transformer: a 2D network on the slices of three planes, a transformer on their sequences."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from dimlift.config.method_config import Task
from dimlift.config.sections import Published
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import WithDecoder
from dimlift.methods.supervised.volumes import volume_method

if TYPE_CHECKING:
    from torch import nn

PAPER: dict[str, Any] = {"network": "timm:resnet18", "layer_width": 512, "planes": ("depth", "height", "width")}
"""What we know of the published network, from memory; its depth is not among it."""


class MedicalTransformerArm(Published, WithDecoder):
    """Medical Transformer: three planes of slices, each a sequence that a transformer reads."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["medical_transformer"] = Field(
        default="medical_transformer", description="2D network on slices of three planes, a transformer on sequences."
    )
    preset: Literal["none", "paper"] = Field(
        default="none", description="`paper` sets what is known of the published network, wherever a key is not given."
    )
    planes: tuple[Literal["depth", "height", "width"], ...] = Field(
        default=("depth", "height", "width"), min_length=1, description="Axes across which slices are cut."
    )
    layer_width: int = Field(default=256, ge=1, description="Width of a slice's vector in the transformer.")
    layers: int = Field(default=4, ge=1, description="Layers of the transformer.")
    heads: int = Field(default=8, ge=1, description="Heads of its attention; a divisor of `layer_width`.")

    @model_validator(mode="after")
    def _fits(self) -> "MedicalTransformerArm":
        if self.layer_width % self.heads:
            raise ValueError(f"'heads' is {self.heads}, which does not divide layer_width {self.layer_width}")
        if "depth" not in self.planes or len(set(self.planes)) < len(self.planes):
            raise ValueError(f"'planes' is {list(self.planes)}; name depth and, once each, height and width")
        return self

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """The three sequences, with a layer for one answer or a decoder for voxels."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.models.medical_transformer import PlaneClassifier, PlaneTransformer

        if self.image_size is not None:
            raise ConfigError("slices of three planes have three sizes; leave image_size out, and name a convolutional "
                              "network or one for any size")  # fmt: skip
        slices = self._encoder(task, DepthPlan(kernel=1), fresh)
        encoder = PlaneTransformer(
            slices, width=self.layer_width, layers=self.layers, heads=self.heads, planes=self.planes
        )
        if task.kind == "segmentation":
            return self._method(encoder, task)
        return volume_method(PlaneClassifier(encoder, task.classes), task, **self._learning())
