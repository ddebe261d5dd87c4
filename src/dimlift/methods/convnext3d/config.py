"""3D-ConvNeXt: a 2D ConvNeXt whose every kernel is a cube, with a multi-scale head for voxels or one for volumes."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.sections import Published
from dimlift.methods.lifted.config import WithDecoder
from dimlift.methods.lifted.decoder_choice import DecoderName

if TYPE_CHECKING:
    from torch import nn

    from dimlift.lifting.depth_plan import DepthPlan

PAPER: dict[str, Any] = {
    "network": "timm:convnext_tiny.fb_in1k",
    "inflation": "2g",
    "decoder": "upernext",
    "width": 16,
    "rate": 5e-5,
}
"""The published network and settings; what belongs to the training loop is in examples/convnext3d.yaml."""

INFLATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "full": ("average", ("depth",)),
    "1g": ("gaussian", ("depth",)),
    "1g_as_published": ("kienzle_1g_as_published", ("depth",)),
    "2g": ("gaussian", ("depth", "width")),
    "3g": ("gaussian", ("depth", "width", "height")),
}
"""Profile and axes of each inflation of the paper."""


class ConvNeXt3DArm(Published, WithDecoder):
    """3D-ConvNeXt: every kernel a cube, depth reduced as height and width are."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["convnext3d"] = Field(
        default="convnext3d", description="2D ConvNeXt with cubic kernels, depth reduced as height and width are."
    )
    network: str = Field(default="timm:convnext_tiny", description="2D network, a ConvNeXt in the paper: `timm:NAME`.")
    inflation: Literal["full", "1g", "1g_as_published", "2g", "3g"] = Field(
        default="2g",
        description="How 2D kernels become cubes: averaged over depth (`full`), or a Gaussian along depth (`1g`; "
        "`1g_as_published` is what the authors' program makes of it), and along width (`2g`), and height (`3g`).",
    )
    decoder: DecoderName = Field(
        default="upernext",
        description="What turns maps into an answer for each voxel: `upernext` (the paper's), or any of the others.",
    )
    width: int = Field(default=16, ge=1, description="Channels of the decoder; of each map in `upernext`.")

    def depth_plan(self) -> "DepthPlan":
        """Cubes everywhere; stem and downsampling stride in depth too."""
        from dimlift.lifting.depth_plan import DepthPlan

        profile, axes = INFLATIONS[self.inflation]
        return DepthPlan(kernel="cubic", profile=profile, axes=axes, stride="kernel")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted ConvNeXt with a head for the task."""
        return self._method(self._encoder(task, self.depth_plan(), fresh), task)
