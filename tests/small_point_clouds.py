"""Small point clouds, a small point network, and the Chamfer distance by its definition."""

import torch
from torch import Tensor

from dimlift.batch import PointBatch
from dimlift.models.point_classifier import PointCloudClassifier
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder


def small_network(levels: int = 3) -> PointCloudClassifier:
    """A network without a head, with the coarsest of three levels."""
    torch.manual_seed(0)
    first = 3 - levels
    encoder = PointM2AEEncoder((32, 16, 8)[first:], (8, 4, 3)[first:], (24, 24, 48)[first:], (1, 1, 1)[first:], 2)
    return PointCloudClassifier(encoder, 0)


def point_batch(count: int = 2) -> PointBatch:
    """Unlabelled point clouds of 80 points."""
    points = torch.randn(count, 80, 3, generator=torch.Generator().manual_seed(1))
    return PointBatch(points / points.norm(dim=-1).amax(), None, tuple("abcdef"[:count]))


def cd_l2(one: Tensor, other: Tensor) -> Tensor:
    """CD-L2 of two point clouds."""
    distances = (one[:, None] - other[None]).square().sum(-1)
    return distances.amin(1).mean() + distances.amin(0).mean()
