"""Configuration of PPKT pretraining and its baselines."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.config.sections import PositiveFloat, PresetMixin
from dimlift.methods.point_pretraining.rgbd import RGBDPretraining

if TYPE_CHECKING:
    from torch import nn

    from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
    from dimlift.methods.method import Method

PPKT_PAPER: dict[str, Any] = {
    "network": "timm:resnet50",
    "depth": 34,
    "width_multiplier": 1.0,
    "voxel_size": 0.025,
    "proj_dim": 128,
    "temperature": 0.04,
    "rotate": True,
    "mirror": True,
}
SLIDR_PORT: dict[str, Any] = {**PPKT_PAPER, "proj_dim": 64, "temperature": 0.07}
"""The port of PPKT by SLidR's authors, who train on lidar, with other voxels and MoCo's ResNet-50."""


class PPKTPretraining(PresetMixin, RGBDPretraining):
    """Contrast every point with the pixel that shows it, among all pixels of the batch."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": PPKT_PAPER,
        "slidr_port": SLIDR_PORT,
        "slidr": {**SLIDR_PORT, "objective": "superpixels", "num_superpixels": 150},
    }

    preset: Literal["none", "paper", "slidr_port", "slidr"] = Field(
        default="none",
        description="Published values of all keys that are not set: `paper`, `slidr_port` (the port that SLidR's "
        "authors compare with) or `slidr` (their superpixels).",
    )
    method: Literal["ppkt"] = Field(default="ppkt", description="Contrast of points and pixels.")
    objective: Literal[
        "pixels", "superpixels", "pixel_distillation", "frame_distillation", "frame_contrast", "frame_classes"
    ] = Field(
        default="pixels",
        description="Contrast of pixels (PPKT) or superpixels (SLidR), or a baseline: match pixel features, match "
        "the mean of a frame, contrast frames, match the 2D network's classes of a frame.",
    )
    proj_dim: int = Field(
        default=128, ge=2, description="Dimension of the space in which points and pixels are compared."
    )
    temperature: PositiveFloat = Field(
        default=0.04, description="Temperature of the contrast; 0.04 in the paper, 0.07 in SLidR's port."
    )
    num_superpixels: int = Field(default=150, ge=2, description="SLIC segments of an image.")

    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the sparse U-Net with its teacher."""
        from dimlift.methods.ppkt.frame_distillation import FrameDistillation
        from dimlift.methods.ppkt.method import PPKT
        from dimlift.methods.teachers.feature_maps import CachedFeatureMaps

        maps = CachedFeatureMaps(self.teacher(head=self.objective == "frame_classes"), data.cache)
        network = self.point_network(None)
        if self.objective in ("pixels", "superpixels"):
            return PPKT(network, maps, proj_dim=self.proj_dim, temperature=self.temperature)
        return FrameDistillation(network, maps, self.objective, self.temperature)  # type: ignore[arg-type]

    def sampler(self, data: PretrainingData, num_superpixels: int = 0) -> "PixelPointPairSampler":
        """Return the sampler of frames; with superpixels if they are contrasted."""
        return super().sampler(data, self.num_superpixels if self.objective == "superpixels" else 0)
