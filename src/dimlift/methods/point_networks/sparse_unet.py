"""Configurations of sparse U-Nets on voxels of points."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PositiveFloat
from dimlift.methods.point_networks.base import NUM_COORDINATES, PointMethodConfig

if TYPE_CHECKING:
    from torch import nn

    from dimlift.methods.method import Method


class SparseUNetConfig(PointMethodConfig):
    """Base of methods whose network is a sparse U-Net, as pretrained by PPKT and soft labels."""

    depth: Literal[18, 34] = Field(default=18, description="Number of layers of the sparse U-Net; 34 in PPKT.")
    width_multiplier: PositiveFloat = Field(
        default=1.0, description="Factor of the published widths; 0.25 suits a CPU."
    )
    voxel_size: PositiveFloat = Field(
        default=0.05,
        description="Edge length of a voxel, in the unit of the points (`point_clouds.normalise`); 0.025 m in PPKT.",
    )
    init_scope: Literal["network", "encoder"] = Field(
        default="network",
        description="Weights taken from `init_from`: the complete U-Net, or its encoder without the decoder.",
    )

    def accepts_weight(self, weight: str) -> bool:
        """Return whether a weight of `init_from` is used."""
        from dimlift.models.sparse_unet import is_encoder_weight

        return self.init_scope == "network" or is_encoder_weight(weight.removeprefix("network."))

    def network(self, task: TaskSpec) -> "nn.Module":
        """Build the U-Net with a segmentation or classification head."""
        from dimlift.models.sparse_unet_heads import point_cloud_unet

        return point_cloud_unet(
            task.in_channels - NUM_COORDINATES,
            task.num_classes,
            self.depth,
            self.width_multiplier,
            self.voxel_size,
            per_point=task.kind == "segmentation",
        )


class PointUNetConfig(SparseUNetConfig):
    """Sparse residual U-Net on voxels of points (SR-UNet), trained from labels."""

    method: Literal["point_unet"] = Field(default="point_unet", description="Sparse residual U-Net on voxels.")

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the supervised network."""
        from dimlift.methods.supervised.points import SupervisedPoints

        return SupervisedPoints(
            self.network(task), label_smoothing=self.label_smoothing, class_weights=task.class_weights
        )
