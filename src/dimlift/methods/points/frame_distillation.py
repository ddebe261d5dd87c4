"""The simpler routes PPKT is compared with: match the 2D features instead of contrasting them, by pixel or by frame.

- by pixel: mean over pairs of 1 - cos(z3D_i, f2D_i); targets are the frozen features themselves, because a learnt
  projection on the 2D side could make every target the same;
- by frame: the mean over a frame's points is compared with the mean over its map, by squared distance of the unit
  vectors (Gupta et al., 2016, https://arxiv.org/abs/1507.00448) or by contrast with the other frames of the batch
  (Tian et al., 2020, https://arxiv.org/abs/1910.10699, without its memory of earlier batches);
- by the frame's classes: KL(softmax(t(picture)) || softmax(mean over points of s)), t the 2D network with its head
  (Hinton et al., 2015, https://arxiv.org/abs/1503.02531).
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import FrameBatch
from dimlift.errors import RunError
from dimlift.losses.contrast import group_means, info_nce
from dimlift.losses.distillation import kl_to_teacher
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.feature_maps import TeacherMaps, fitting, pair_values
from dimlift.models.point_sparse_unet import PointUNet, centred

Kind = Literal["pixels", "frames", "frame_contrast", "frame_classes"]


class FrameDistillation(nn.Module):
    """Foresee a frozen 2D network's features.

    Args:
        model: 3D network without a last layer; takes three colours.
        maps: of the frozen 2D network.
        kind: what is compared.
        temperature: of the contrast between frames.
    """

    def __init__(self, model: PointUNet, maps: TeacherMaps, kind: Kind = "pixels", temperature: float = 0.07) -> None:
        super().__init__()
        self.model, self.maps, self.kind, self.temperature = model, maps, kind, temperature
        answers = self._classes(torch.zeros(1, 3, 224, 224)).shape[1] if kind == "frame_classes" else maps.channels
        self.point_head = nn.Linear(model.channels, answers)

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points channels"]:
        """Foreseen features, or classes, of every point."""
        return self.point_head(self.model(batch.points, centred(batch.colours), batch.frame))

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """Distance to what the 2D network sees.

        Raises:
            RunError: if frames are to be contrasted and there is one only.
        CannotLift: if classes are asked for and the 2D network has no head.
        """
        answer = self(batch)
        if self.kind == "frame_classes":
            return kl_to_teacher(group_means(answer, batch.frame), self._classes(batch.image))
        maps = self.maps(batch.image)
        if self.kind == "pixels":
            return (1 - F.cosine_similarity(answer[batch.pair_points], pair_values(maps, batch), dim=1)).mean()
        frames, pictures = group_means(answer, batch.frame), maps.mean((2, 3))
        if self.kind == "frames":
            return (F.normalize(frames, dim=1) - F.normalize(pictures, dim=1)).square().sum(1).mean()
        if len(frames) < 2:
            raise RunError("frames are contrasted with each other; set training.batch_size to 2 or more")
        return info_nce(frames, pictures, self.temperature)

    def _classes(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """What the 2D network's own head says of whole pictures."""
        teacher = self.maps.teacher
        teacher.frozen.to(pictures.device)
        return teacher.logits(fitting(pictures, teacher))

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The 3D network and its head."""
        return parameter_groups(self, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
