"""A sparse U-Net asked about clouds of equal size: one answer for every point, or one for every cloud."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.models.point_classifier import pooled
from dimlift.models.point_sparse_unet import DEPTHS, at_points, flat_clouds
from dimlift.models.sparse_unet import SparseUNet


class CloudUNet(nn.Module):
    """(B, N, 3) -> logits (B, N, classes) or (B, classes).

    Its `network` has the names of a pretrained `PointUNet`'s, so that it starts from one.

    Args:
        network: answers with features of voxels; of three input channels where clouds have nothing but coordinates.
        voxel: edge of a voxel, in the unit of the points.
        head: features of points (B, N, network.channels) -> logits.
    """

    def __init__(self, network: SparseUNet, voxel: float, head: nn.Module) -> None:
        super().__init__()
        self.network, self.voxel, self.head = network, voxel, head

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Tensor:
        """Logits. Points without features are white: a network of zeros would see nothing at all."""
        shown = torch.ones_like(points) if features is None else features
        flat, cloud = flat_clouds(points)
        found = at_points(self.network, self.voxel, flat, shown.flatten(0, 1), cloud)
        return self.head(found.unflatten(0, points.shape[:2]))


class WholeClouds(nn.Module):
    """Features of points (B, N, channels) -> logits of clouds (B, classes), by their mean and their largest."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.answer = nn.Linear(2 * channels, classes)

    def forward(self, features: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.answer(pooled(features, "both"))


def cloud_unet(
    in_channels: int, classes: int, layers: int = 18, share: float = 1.0, voxel: float = 0.05, *, of_points: bool = True
) -> CloudUNet:
    """SR-UNet of 18 or 34 layers with a head for points, or for clouds.

    Args:
        in_channels: numbers of a point beside its coordinates; 0 where there are none.
        share: of every width, for processors.

    Raises:
        ShapeError: for another number of layers.
    """
    if layers not in DEPTHS:
        raise ShapeError(f"a sparse U-Net of {layers} layers; there are {' and '.join(map(str, DEPTHS))}")
    network = DEPTHS[layers](in_channels or 3, None, share)
    head = nn.Linear(network.channels, classes) if of_points else WholeClouds(network.channels, classes)
    return CloudUNet(network, voxel, head)
