"""Baselines of PPKT that match 2D features instead of contrasting pixels.

- "pixel_distillation": mean over pairs of 1 - cos(z3D_i, f2D_i); targets are the frozen features themselves, because a
  learnt projection on the 2D side could collapse;
- "frame_distillation" and "frame_contrast": the mean over a frame's points is compared with the mean over its map, by
  the squared distance of the unit vectors (Gupta et al., 2016, https://arxiv.org/abs/1507.00448) or by contrast with
  the other frames of the batch (Tian et al., 2020, https://arxiv.org/abs/1910.10699, without its memory bank);
- "frame_classes": KL(softmax(t(image)) || softmax(mean over points of s)), t the 2D network with its head
  (Hinton et al., 2015, https://arxiv.org/abs/1503.02531).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import FrameBatch
from dimlift.errors import RunError
from dimlift.losses.contrast import group_means, info_nce
from dimlift.losses.distillation import kl_to_teacher
from dimlift.methods.method import Method
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, pair_features, resize_to_patches
from dimlift.models.point_sparse_unet import PointSparseUNet, centre_colours

DistillationObjective = Literal["pixel_distillation", "frame_distillation", "frame_contrast", "frame_classes"]


class FrameDistillation(Method[FrameBatch]):
    """Distillation of a frozen 2D network's features into points.

    Args:
        model: sparse U-Net without a last layer; takes three colours.
        maps: feature maps of the frozen 2D network.
        objective: what is compared.
        temperature: of the contrast between frames.
    """

    def __init__(
        self,
        model: PointSparseUNet,
        maps: CachedFeatureMaps,
        objective: DistillationObjective = "pixel_distillation",
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.model, self.maps, self.objective, self.temperature = model, maps, objective, temperature
        by_class = objective == "frame_classes"
        out_channels = self._class_logits(torch.zeros(1, 3, 224, 224)).shape[1] if by_class else maps.channels
        self.point_head = nn.Linear(model.channels, out_channels)

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points channels"]:
        """Return predicted features, or class logits, of every point."""
        return self.point_head(self.model(batch.points, centre_colours(batch.colours), batch.frame))

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """Return the distance to the 2D network's output.

        Raises:
            RunError: if frames are contrasted and the batch holds one.
            LiftError: if classes are needed and the 2D network has no head.
        """
        predicted = self(batch)
        if self.objective == "frame_classes":
            return kl_to_teacher(group_means(predicted, batch.frame), self._class_logits(batch.image))
        maps = self.maps(batch.image)
        if self.objective == "pixel_distillation":
            targets = pair_features(maps, batch)
            return (1 - F.cosine_similarity(predicted[batch.pair_points], targets, dim=1)).mean()
        frames, images = group_means(predicted, batch.frame), maps.mean((2, 3))
        if self.objective == "frame_distillation":
            return (F.normalize(frames, dim=1) - F.normalize(images, dim=1)).square().sum(1).mean()
        if len(frames) < 2:
            raise RunError("frames are contrasted with each other; set training.batch_size to 2 or more")
        return info_nce(frames, images, self.temperature)

    def _class_logits(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the 2D network's own head."""
        teacher = self.maps.teacher
        teacher.frozen.to(images.device)
        return teacher.logits(resize_to_patches(images, teacher))
