"""A sparse U-Net on batches of point clouds of equal size: segmentation or classification."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.point_classifier import pool_tokens
from dimlift.models.point_sparse_unet import flatten_point_clouds, sparse_backbone, voxel_outputs_at_points
from dimlift.models.sparse_unet import SparseUNet


class PointCloudUNet(nn.Module):
    """Network (B, N, 3) -> logits (B, N, num_classes) or (B, num_classes).

    Weights of `network` have the same names as those of a pretrained `PointSparseUNet`, so that it can be initialised
    from one.

    Args:
        network: returns voxel features; three input channels if points have no features.
        voxel_size: edge length of a voxel, in the unit of the points.
        head: features of points (B, N, network.channels) -> logits.
    """

    def __init__(self, network: SparseUNet, voxel_size: float, head: nn.Module) -> None:
        super().__init__()
        self.network, self.voxel_size, self.head = network, voxel_size, head

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Tensor:
        """Return the logits; points without features get ones, because zeros carry no signal."""
        inputs = torch.ones_like(points) if features is None else features
        flat, batch_index = flatten_point_clouds(points)
        outputs = voxel_outputs_at_points(self.network, self.voxel_size, flat, inputs.flatten(0, 1), batch_index)
        return self.head(outputs.unflatten(0, points.shape[:2]))


class GlobalPoolHead(nn.Module):
    """Head from features of points (B, N, channels) to logits of point clouds (B, num_classes), by mean and maximum."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, num_classes)

    def forward(self, features: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        return self.linear(pool_tokens(features, "both"))


def point_cloud_unet(
    in_channels: int,
    num_classes: int,
    depth: int = 18,
    width_multiplier: float = 1.0,
    voxel_size: float = 0.05,
    *,
    per_point: bool = True,
) -> PointCloudUNet:
    """Build an SR-UNet of 18 or 34 layers with a segmentation or classification head.

    Args:
        in_channels: feature channels of a point beside its coordinates; 0 for none.
        width_multiplier: factor of every width.
        per_point: segment points instead of classifying point clouds.

    Raises:
        ShapeError: for another depth.
    """
    network = sparse_backbone(in_channels or 3, None, depth, width_multiplier)
    head = nn.Linear(network.channels, num_classes) if per_point else GlobalPoolHead(network.channels, num_classes)
    return PointCloudUNet(network, voxel_size, head)
