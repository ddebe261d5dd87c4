"""Configuration base of methods that pretrain a sparse U-Net on RGB-D frames."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.config.sections import PositiveFloat
from dimlift.errors import ConfigError
from dimlift.methods.teachers.config import MapTeacherConfig
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
    from dimlift.models.point_sparse_unet import PointSparseUNet


class RGBDPretraining(MapTeacherConfig, Pretraining):
    """Base of methods that distil a frozen 2D network into a sparse U-Net."""

    needs_volumes: ClassVar[bool] = False
    needs_frames: ClassVar[bool] = True
    needs_arm: ClassVar[bool] = False

    depth: Literal[18, 34] = Field(default=34, description="Number of layers of the sparse U-Net.")
    width_multiplier: PositiveFloat = Field(
        default=1.0, description="Factor of the published widths; 0.25 suits a CPU."
    )
    voxel_size: PositiveFloat = Field(default=0.025, description="Edge length of a voxel in metres.")
    rotate: bool = Field(
        default=True, description="Rotate points about the vertical axis and scale them by 0.8 to 1.2."
    )
    mirror: bool = Field(default=False, description="Mirror half of all frames.")

    def point_network(self, out_channels: int | None) -> "PointSparseUNet":
        """Build the sparse U-Net; it takes three colours."""
        from dimlift.models.point_sparse_unet import point_sparse_unet

        return point_sparse_unet(3, out_channels, self.depth, self.width_multiplier, self.voxel_size)

    def sampler(self, data: PretrainingData, num_superpixels: int = 0) -> "PixelPointPairSampler":
        """Return the sampler of frames and pixel-point pairs."""
        from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler

        if data.frames is None:
            raise ConfigError(f"'frames' is missing: {self.method} trains on RGB-D frames; set frames.path")
        return PixelPointPairSampler(
            data.frames.files,
            stride=data.frames.stride,
            tolerance=data.frames.tolerance,
            num_pairs=data.frames.num_pairs,
            num_superpixels=num_superpixels,
            mirror=self.mirror,
            rotate=self.rotate,
            up_axis=data.frames.up_axis,
            seed=data.seed,
        )

    def batches(
        self, method: "nn.Module", data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of frames; nothing is computed first."""
        sampler = self.sampler(data)
        return 0.0, lambda step: sampler.batch(step, data.training.batch_size)
