"""Configuration of 3D-ConvNeXt: a 2D ConvNeXt with cubic kernels and a multi-scale decoder or classification head."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PaperPreset
from dimlift.methods.lifted.config import DecoderConfig
from dimlift.methods.lifted.decoder_choice import DecoderName
from dimlift.methods.method import Method

if TYPE_CHECKING:
    from dimlift.lifting.depth_plan import DepthPlan

PAPER: dict[str, Any] = {
    "network": "timm:convnext_tiny.fb_in1k",
    "inflation": "2g",
    "decoder": "upernext",
    "decoder_channels": 16,
    "lr": 5e-5,
}
"""Published settings of the method; those of the training loop are in examples/convnext3d.yaml."""

INFLATIONS: dict[str, tuple[str, tuple[Literal["depth", "height", "width"], ...]]] = {
    "full": ("average", ("depth",)),
    "1g": ("gaussian", ("depth",)),
    "1g_as_published": ("kienzle_1g_as_published", ("depth",)),
    "2g": ("gaussian", ("depth", "width")),
    "3g": ("gaussian", ("depth", "width", "height")),
}
"""`inflation` and `axes` of the depth plan for each inflation of the paper."""


class ConvNeXt3DConfig(PaperPreset, DecoderConfig):
    """3D-ConvNeXt: cubic kernels; depth is downsampled like height and width."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["convnext3d"] = Field(
        default="convnext3d", description="2D ConvNeXt with cubic kernels, depth downsampled like height and width."
    )
    network: str = Field(default="timm:convnext_tiny", description="2D network, in the paper a ConvNeXt: `timm:NAME`.")
    inflation: Literal["full", "1g", "1g_as_published", "2g", "3g"] = Field(
        default="2g",
        description="How 2D kernels become cubes: averaged over depth (`full`), a Gaussian along depth (`1g`; "
        "`1g_as_published` is what the published code computes), also along width (`2g`), also along height (`3g`).",
    )
    decoder: DecoderName = Field(
        default="upernext", description="Decoder of segmentations: `upernext` as in the paper, or any other decoder."
    )
    decoder_channels: int = Field(default=16, ge=1, description="Channels of the decoder; in `upernext` of each map.")

    def depth_plan(self) -> "DepthPlan":
        """Return a plan with cubic kernels whose stem and downsampling layers stride in depth too."""
        from dimlift.lifting.depth_plan import DepthPlan

        inflation, axes = INFLATIONS[self.inflation]
        return DepthPlan(kernel="cubic", inflation=inflation, axes=axes, stride="kernel")

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a lifted ConvNeXt with a decoder or classification head."""
        return self._task_method(self._build_encoder(task, self.depth_plan(), load_pretrained), task)
