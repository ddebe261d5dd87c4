"""Contrast between point clouds and images of them, following CrossPoint: the simple baseline of the masked routes.

Afham et al., 2022, https://arxiv.org/abs/2203.00680

    L = NT-Xent(one augmentation of a point cloud, another) + NT-Xent(mean of both, its image), both directions

The authors train the image network together with the point network on rendered models. Here the image is a depth view
from a random side and its network a frozen teacher; only the point encoder and the two projections are trained.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.views import camera_view
from dimlift.methods.method import Method
from dimlift.methods.point_pretraining.depth_images import depth_to_rgb, sample_rotations
from dimlift.methods.teachers.teacher import Teacher
from dimlift.models.point_classifier import pool_tokens
from dimlift.models.transformer_init import init_transformer_weights


class CrossPoint(Method[PointBatch]):
    """Contrastive pretraining of a point encoder.

    Args:
        model: network whose `encoder` is pretrained.
        teacher: returns one embedding per image.
        channels: of that embedding.
        proj_dim: dimension of the space in which both are compared.
        temperature: of the softmax.
        render_size: height and width of the images, in pixels.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher,
        channels: int,
        *,
        proj_dim: int = 256,
        temperature: float = 0.1,
        render_size: int = 224,
    ) -> None:
        super().__init__()
        encoder: Any = model.encoder
        self.model, self.teacher = model, teacher
        self.temperature, self.render_size = temperature, render_size
        self.point_projection = _projection(2 * encoder.width, proj_dim)
        self.image_projection = _projection(channels, proj_dim)
        init_transformer_weights(self.point_projection, self.image_projection)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the sum of both contrastive losses.

        Raises:
            ShapeError: if the batch holds one point cloud, which has no negatives.
        """
        points = batch.points
        if len(points) < 2:
            raise ShapeError("a batch of one point cloud has no negatives; raise training.batch_size to 2 or more")
        one, other = (self.embed_points(self.augment(points)) for _ in range(2))
        images = self.image_projection(self.embed_images(points))
        return self.nt_xent(one, other) + self.nt_xent((one + other) / 2, images)

    def augment(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Rotate each point cloud about its vertical axis, scale it, and jitter its points."""
        scale = 0.8 + 0.4 * torch.rand(len(points), 1, 1, device=points.device)
        rotated = points @ sample_rotations(points, "upright").transpose(1, 2)
        return rotated * scale + 0.01 * torch.randn_like(points)

    def embed_points(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch width"]:
        """Return the projected embedding of each point cloud."""
        encoder: Any = self.model.encoder
        return self.point_projection(pool_tokens(encoder(points).values, "both"))

    @torch.no_grad()
    def embed_images(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch channels"]:
        """Return the teacher's embedding of a depth image of each point cloud."""
        self.teacher.frozen.to(points.device)
        view = camera_view(points, sample_rotations(points), self.render_size)
        return self.teacher.embed(depth_to_rgb(view.depth))

    def nt_xent(self, one: Float[Tensor, "batch width"], other: Float[Tensor, "batch width"]) -> Float[Tensor, ""]:
        """Return the contrastive loss in which rows of equal index are positives, averaged over both directions."""
        similarity = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / self.temperature
        target = torch.arange(len(one), device=one.device)
        return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2


def _projection(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_channels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
