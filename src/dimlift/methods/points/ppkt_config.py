"""A sparse 3D network learns from RGB-D frames what a frozen 2D network sees in their pictures."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.config.sections import PositiveFloat, WithPresets
from dimlift.errors import ConfigError
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.data.sampling.rgbd_pair_sampler import PairSampler
    from dimlift.methods.teachers.teacher import Teacher
    from dimlift.models.point_sparse_unet import PointUNet


class FramePretraining(Pretraining):
    """What all methods that learn from RGB-D frames share: the frozen 2D network and the sparse 3D network."""

    needs_volumes: ClassVar[bool] = False
    needs_frames: ClassVar[bool] = True
    needs_student: ClassVar[bool] = False

    network: str = Field(default="packaged:efficientnet_lite0", description="The 2D network, `SOURCE:NAME`.")
    weights: str | None = Field(default=None, description="File with weights of the 2D network, instead of its own.")
    pretrained: bool | None = Field(
        default=None, description="Read the source's weights; not set: where they lie on this disk."
    )
    depth: Literal[18, 34] = Field(default=34, description="Layers of the sparse U-Net.")
    share: PositiveFloat = Field(default=1.0, description="Share of its published widths; 0.25 for a processor.")
    voxel: PositiveFloat = Field(default=0.025, description="Edge of a voxel in metres.")
    rotate: bool = Field(default=True, description="Turn points about the camera's vertical, scale by 0.8 to 1.2.")
    mirror: bool = Field(default=False, description="Show half of all frames as in a mirror.")

    def teacher(self, head: bool = False) -> "Teacher":
        """The frozen 2D network; with its `head` where classes are asked for, and not maps alone."""
        from dimlift.methods.teachers.teacher import open_map_teacher

        return open_map_teacher(self.network, head=head, pretrained=self.pretrained, weights=self.weights)

    def point_network(self, outputs: int | None) -> "PointUNet":
        """The 3D network; it takes three colours."""
        from dimlift.models.point_sparse_unet import point_unet

        return point_unet(3, outputs, self.depth, self.share, self.voxel)

    def sampler(self, pool: Pool, segments: int = 0) -> "PairSampler":
        """Draws frames and pairs as the configuration says."""
        from dimlift.data.sampling.rgbd_pair_sampler import PairSampler

        if pool.frames is None:
            raise ConfigError(f"'frames' is missing: {self.method} learns from RGB-D; set frames.path")
        return PairSampler(
            pool.frames.files,
            stride=pool.frames.stride,
            tolerance=pool.frames.tolerance,
            pairs=pool.frames.pairs,
            segments=segments,
            mirror=self.mirror,
            rotate=self.rotate,
            seed=pool.seed,
        )

    def batches(
        self, method: "nn.Module", pool: Pool, progress: Progress = silent
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Frames drawn by the step; nothing is computed first."""
        sampler = self.sampler(pool)
        return 0.0, lambda step: sampler.batch(step, pool.training.batch_size)


PAPER: dict[str, Any] = {
    "network": "timm:resnet50",
    "depth": 34,
    "share": 1.0,
    "voxel": 0.025,
    "dimensions": 128,
    "temperature": 0.04,
    "rotate": True,
    "mirror": True,
}
PORT: dict[str, Any] = {**PAPER, "dimensions": 64, "temperature": 0.07}
"""What SLidR's authors made of it: for lidar, in voxels of theirs, taught by MoCo's ResNet-50."""


class PPKTPretraining(WithPresets, FramePretraining):
    """Every point must find the pixel that shows it, among all pixels of the batch."""

    published: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": PAPER,
        "slidr_port": PORT,
        "slidr": {**PORT, "objective": "superpixels", "superpixels": 150},
    }

    preset: Literal["none", "paper", "slidr_port", "slidr"] = Field(
        default="none",
        description="What was published, wherever a key is not given: `paper`, `slidr_port` (the port of it that "
        "SLidR's authors compare with) or `slidr` (their superpixels).",
    )
    method: Literal["ppkt"] = Field(default="ppkt", description="Contrast of points and pixels.")
    objective: Literal[
        "pixels", "superpixels", "pixel_distillation", "frame_distillation", "frame_contrast", "frame_classes"
    ] = Field(
        default="pixels",
        description="Contrast of pixels (PPKT) or superpixels (SLidR), or a baseline: match pixel features, match "
        "the mean of a frame, contrast frames, match the 2D network's classes of a frame.",
    )
    dimensions: int = Field(default=128, ge=2, description="Of the space points and pixels are compared in.")
    temperature: PositiveFloat = Field(default=0.04, description="0.04 in the paper, 0.07 in SLidR's port.")
    superpixels: int = Field(default=150, ge=2, description="SLIC segments of a picture.")

    def build(self, student: "nn.Module | None", pool: Pool) -> "nn.Module":
        """The 3D network beside the frozen one."""
        from dimlift.methods.points.frame_distillation import FrameDistillation
        from dimlift.methods.points.ppkt import PPKT
        from dimlift.methods.teachers.feature_maps import TeacherMaps

        maps = TeacherMaps(self.teacher(head=self.objective == "frame_classes"), pool.cache)
        model = self.point_network(None)
        if self.objective in ("pixels", "superpixels"):
            return PPKT(model, maps, dimensions=self.dimensions, temperature=self.temperature)
        kinds = {"pixel_distillation": "pixels", "frame_distillation": "frames"}
        kind: Any = kinds.get(self.objective, self.objective)
        return FrameDistillation(model, maps, kind, self.temperature)

    def sampler(self, pool: Pool, segments: int = 0) -> "PairSampler":
        """With superpixels where they are contrasted."""
        return super().sampler(pool, self.superpixels if self.objective == "superpixels" else 0)
