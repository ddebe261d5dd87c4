"""A sparse U-Net asked about points: into voxels, through the network, and every point gets its voxel's answer."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.geometry.voxels import voxelise
from dimlift.models.sparse_unet import SparseUNet, pyramid, sr_unet18, sr_unet34

DEPTHS: dict[int, Callable[[int, int | None, float], SparseUNet]] = {18: sr_unet18, 34: sr_unet34}


class PointUNet(nn.Module):
    """Features of points, whatever their number.

    Args:
        network: its input channels are the points' features.
        voxel: edge of a voxel, in the unit of the points.
    """

    def __init__(self, network: SparseUNet, voxel: float) -> None:
        super().__init__()
        self.network, self.voxel = network, voxel

    @property
    def channels(self) -> int:
        """Of the decoder's features."""
        return self.network.channels

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        cloud: Int[Tensor, " points"],
    ) -> Float[Tensor, "points out"]:
        """The answer at every point.

        Args:
            features: averaged over the points of a voxel.
            cloud: which cloud each point belongs to.

        Raises:
            ShapeError: if there are not as many features as points.
        """
        return at_points(self.network, self.voxel, points, features, cloud)


def at_points(
    network: SparseUNet,
    voxel: float,
    points: Float[Tensor, "points 3"],
    features: Float[Tensor, "points channels"],
    cloud: Int[Tensor, " points"],
) -> Float[Tensor, "points out"]:
    """What a network of voxels answers at every point; arguments as of `PointUNet`.

    Raises:
        ShapeError: if there are not as many features as points.
    """
    if not len(points) == len(features) == len(cloud):
        raise ShapeError(
            f"{len(points)} points with features of {len(features)} and clouds of {len(cloud)}; give one of each "
            "for every point"
        )
    voxels = voxelise(points, voxel, cloud)
    answer = network(voxels.mean(features), pyramid(voxels.coordinates))
    return answer[voxels.inverse]


def point_unet(
    in_channels: int, out_channels: int | None, depth: int = 34, share: float = 1.0, voxel: float = 0.025
) -> PointUNet:
    """SR-UNet of 18 or 34 layers on voxels of 2.5 cm, as in PPKT and PointContrast.

    Args:
        share: of every width, for processors.

    Raises:
        ShapeError: for another depth.
    """
    if depth not in DEPTHS:
        raise ShapeError(f"a sparse U-Net of {depth} layers; there are {' and '.join(map(str, DEPTHS))}")
    return PointUNet(DEPTHS[depth](in_channels, out_channels, share), voxel)


def centred(colours: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Colours from 0 to 1 as networks like them, about zero."""
    return (colours - 0.5) * 2


def flat_clouds(points: Float[Tensor, "batch points 3"]) -> tuple[Float[Tensor, "all 3"], Int[Tensor, " all"]]:
    """Clouds of equal size one after the other, and the number of each point's cloud."""
    batch, count = points.shape[:2]
    return points.flatten(0, 1), torch.arange(batch, device=points.device).repeat_interleave(count)
