"""DistInit: image teachers label single slices of volumes nobody labelled, a 3D network learns their labels.

- Girdhar et al., DistInit: Learning Video Representations Without a Single Labeled Video, ICCV 2019,
  https://arxiv.org/abs/1901.09244

    L = sum over teachers k of CE(softmax(t_k(slice)), softmax(s_k(volume)))

with one linear head s_k on the student for each teacher. The heads are one layer here, whose answers are split. Only
the abstract is known to us in its own words, and no code was published: the equation is ours, from memory of the
method.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.distillation import soft_cross_entropy
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.teacher import Teacher

PERCENTILES = (0.005, 0.995)
"""Intensities of a slice that become 0 and 1 of a picture."""


class DistInit(nn.Module):
    """Train `student` to answer for a volume what each teacher answers for one of its slices.

    Args:
        student: (B, C, D, H, W) -> (B, classes of all teachers, one behind the other).
        teachers: 2D networks with heads; frozen, in no optimiser and no checkpoint.
        classes: of each teacher.

    Raises:
        ConfigError: if there is no teacher, or not one number of classes for each.
    """

    def __init__(self, student: nn.Module, teachers: Sequence[Teacher], classes: Sequence[int]) -> None:
        super().__init__()
        if not teachers or len(classes) != len(teachers):
            raise ConfigError(f"{len(teachers)} teachers and {len(classes)} numbers of classes; give one for each")
        self.model, self.teachers, self.classes = student, tuple(teachers), tuple(classes)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Float[Tensor, "batch classes"]:
        """The answers of all heads."""
        return self.model(image)

    def loss(self, batch: PairedBatch) -> Float[Tensor, ""]:
        """Sum over the teachers of the cross-entropy to their answers for the slices.

        Raises:
            ShapeError: if a teacher, or the student, has another number of classes than was said.
        """
        answer = self.model(batch.volumes.image)
        if answer.ndim != 2 or answer.shape[1] != sum(self.classes):
            raise ShapeError(
                f"the student answers {tuple(answer.shape)}, its teachers have {' + '.join(map(str, self.classes))} "
                "classes; build it with one output for each"
            )
        pictures, total = batch.pictures.image, answer.new_zeros(())
        for teacher, head in zip(self.teachers, answer.split(self.classes, dim=1), strict=True):
            teacher.frozen.to(pictures.device)
            total = total + soft_cross_entropy(head, teacher.logits(pictures))
        return total

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The student alone."""
        return parameter_groups(self.model, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""


def with_drawn_slices(batch: VolumeBatch, size: int, seed: int, step: int) -> PairedBatch:
    """A batch of volumes, and beside it one slice of each as a picture: a function of (seed, step, index).

    Args:
        size: height and width of the pictures.
    """
    depth = batch.image.shape[2]
    chosen = [int(np.random.default_rng([seed, step, index]).integers(depth)) for index in range(len(batch.image))]
    slices = torch.stack([volume[:, z] for volume, z in zip(batch.image, chosen, strict=True)])
    names = tuple(f"{case}[{z}]" for case, z in zip(batch.cases, chosen, strict=True))
    return PairedBatch(batch, ImageBatch(as_pictures(slices, size), None, names))


def as_pictures(slices: Float[Tensor, "batch channels rows columns"], size: int) -> Float[Tensor, "batch 3 size size"]:
    """Slices as pictures from 0 to 1, each scaled by its own percentiles.

    One channel becomes grey, three become red, green and blue; of any other number the mean is shown.
    """
    if slices.shape[1] not in (1, 3):
        slices = slices.mean(1, keepdim=True)
    flat = slices.flatten(2).float()
    low, high = (flat.quantile(share, dim=2)[..., None, None] for share in PERCENTILES)
    scaled = ((slices - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    resized = F.interpolate(scaled, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized.expand(-1, 3, -1, -1).contiguous()
