"""Contrast of clouds with pictures of them, in the manner of CrossPoint: the simple rival of the masked routes.

Afham et al., 2022, https://arxiv.org/abs/2203.00680

    L = NT-Xent(one version of a cloud, another) + NT-Xent(mean of both, its picture), both directions

The authors train the picture's network beside the points' on rendered models; here the picture is a depth view from a
side drawn at random and its network a frozen teacher, so only the two projections and the points' encoder learn.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.views import camera_view, random_rotations
from dimlift.methods.points.i2p_mae import picture
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.teacher import Teacher
from dimlift.models.point_classifier import pooled


class CrossPoint(nn.Module):
    """Teach an encoder of points to know a cloud again, turned or as a picture.

    Args:
        student: its `encoder` is the one that learns.
        teacher: gives one vector for a picture.
        channels: of that vector.
        width: of the space in which both are compared.
        temperature: of the softmax.
        view_size: height and width of the pictures, in pixels.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        channels: int,
        *,
        width: int = 256,
        temperature: float = 0.1,
        view_size: int = 224,
    ) -> None:
        super().__init__()
        encoder: Any = student.encoder
        self.model, self.teacher = student, teacher
        self.temperature, self.view_size = temperature, view_size
        self.of_points = nn.Sequential(
            nn.Linear(2 * encoder.width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
        )
        self.of_pictures = nn.Sequential(
            nn.Linear(channels, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
        )

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Both contrasts.

        Raises:
            ShapeError: if the batch holds one cloud, which has nothing to be told from.
        """
        points = batch.points
        encoder: Any = self.model.encoder
        if len(points) < 2:
            raise ShapeError("a batch of one cloud has nothing to be told from; raise training.batch_size")
        one, other = (self.of_points(pooled(encoder(self.turned(points)).values, "both")) for _ in "ab")
        pictures = self.of_pictures(self.seen(points))
        return self.contrast(one, other) + self.contrast((one + other) / 2, pictures)

    def turned(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Another version of each cloud: turned about its upright axis, scaled, each point a little off."""
        scale = 0.8 + 0.4 * torch.rand(len(points), 1, 1, device=points.device)
        turned = points @ random_rotations(len(points), _drawn(), "upright").to(points).transpose(1, 2)
        return turned * scale + 0.01 * torch.randn_like(points)

    @torch.no_grad()
    def seen(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch channels"]:
        """The teacher's vector of a picture of each cloud."""
        self.teacher.frozen.to(points.device)
        rotation = random_rotations(len(points), _drawn()).to(points)
        return self.teacher.vectors(picture(camera_view(points, rotation, self.view_size)))

    def contrast(self, one: Float[Tensor, "batch width"], other: Float[Tensor, "batch width"]) -> Float[Tensor, ""]:
        """Row i of `one` is to find row i of `other`, and the other way round."""
        alike = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / self.temperature
        which = torch.arange(len(one), device=one.device)
        return (F.cross_entropy(alike, which) + F.cross_entropy(alike.T, which)) / 2

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """One group: encoder and projections learn alike."""
        return parameter_groups(self, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""


def _drawn() -> torch.Generator:
    """A generator that follows torch's own, so that a step is a function of its seed."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))
