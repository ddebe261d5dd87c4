"""A sparse U-Net on points: voxelise, apply the network, and read each point's voxel."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.geometry.voxels import voxelise
from dimlift.models.sparse_unet import SparseUNet, build_pyramid, sr_unet18, sr_unet34

DEPTHS: dict[int, Callable[[int, int | None, float], SparseUNet]] = {18: sr_unet18, 34: sr_unet34}


class PointSparseUNet(nn.Module):
    """Sparse U-Net on any number of points.

    Args:
        network: network on voxels; its input channels are the points' features.
        voxel_size: edge length of a voxel, in the unit of the points.
    """

    def __init__(self, network: SparseUNet, voxel_size: float) -> None:
        super().__init__()
        self.network, self.voxel_size = network, voxel_size

    @property
    def channels(self) -> int:
        """Channels of the decoder's features."""
        return self.network.channels

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_index: Int[Tensor, " points"],
    ) -> Float[Tensor, "points out"]:
        """Return the output at every point.

        Args:
            features: averaged over the points of a voxel.
            batch_index: point cloud of each point.

        Raises:
            ShapeError: if the arguments differ in length.
        """
        return voxel_outputs_at_points(self.network, self.voxel_size, points, features, batch_index)


def voxel_outputs_at_points(
    network: SparseUNet,
    voxel_size: float,
    points: Float[Tensor, "points 3"],
    features: Float[Tensor, "points channels"],
    batch_index: Int[Tensor, " points"],
) -> Float[Tensor, "points out"]:
    """Return a voxel network's output at every point; arguments as of `PointSparseUNet`.

    Raises:
        ShapeError: if the arguments differ in length.
    """
    if not len(points) == len(features) == len(batch_index):
        raise ShapeError(
            f"{len(points)} points, {len(features)} feature rows and {len(batch_index)} batch indices differ "
            "in number; pass one of each for every point"
        )
    voxels = voxelise(points, voxel_size, batch_index)
    output = network(voxels.mean(features), build_pyramid(voxels.coordinates))
    return output[voxels.inverse]


def sparse_backbone(
    in_channels: int, out_channels: int | None, depth: int, width_multiplier: float = 1.0
) -> SparseUNet:
    """Build an SR-UNet of 18 or 34 layers.

    Args:
        width_multiplier: factor of every width.

    Raises:
        ShapeError: for another depth.
    """
    if depth not in DEPTHS:
        raise ShapeError(f"a sparse U-Net has {' or '.join(map(str, DEPTHS))} layers, not {depth}; change depth")
    return DEPTHS[depth](in_channels, out_channels, width_multiplier)


def point_sparse_unet(
    in_channels: int,
    out_channels: int | None,
    depth: int = 34,
    width_multiplier: float = 1.0,
    voxel_size: float = 0.025,
) -> PointSparseUNet:
    """Build an SR-UNet of 18 or 34 layers on voxels of 2.5 cm, as in PPKT and PointContrast.

    Args:
        width_multiplier: factor of every width.

    Raises:
        ShapeError: for another depth.
    """
    return PointSparseUNet(sparse_backbone(in_channels, out_channels, depth, width_multiplier), voxel_size)


def centre_colours(colours: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Scale colours from [0, 1] to [-1, 1]."""
    return (colours - 0.5) * 2


def flatten_point_clouds(
    points: Float[Tensor, "batch points 3"],
) -> tuple[Float[Tensor, "all 3"], Int[Tensor, " all"]]:
    """Concatenate point clouds of equal size; also return the batch index of each point."""
    batch, count = points.shape[:2]
    return points.flatten(0, 1), torch.arange(batch, device=points.device).repeat_interleave(count)
