"""DistInit: image classifiers label single slices of unlabelled volumes, and a 3D network learns these labels.

- Girdhar et al., DistInit: Learning Video Representations Without a Single Labeled Video, ICCV 2019,
  https://arxiv.org/abs/1901.09244

    L = sum over teachers k of CE(softmax(t_k(slice)), softmax(s_k(volume)))

with one linear head s_k on the student for each teacher, implemented as one layer whose outputs are split. The
equation is reconstructed from the abstract; no code was published.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.distillation import soft_cross_entropy
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay
from dimlift.methods.teachers.teacher import Teacher

QUANTILES = (0.005, 0.995)
"""Quantiles of a slice's intensities that are mapped to 0 and 1."""


class DistInit(Method[PairedBatch]):
    """Distillation of image classifiers into a network for volumes.

    Args:
        student: (B, C, D, H, W) -> (B, sum of the teachers' classes).
        teachers: frozen 2D networks with heads; excluded from optimizer and checkpoint.
        num_classes: number of classes of each teacher.

    Raises:
        ConfigError: without teachers, or if there is not one number of classes for each.
    """

    def __init__(self, student: nn.Module, teachers: Sequence[Teacher], num_classes: Sequence[int]) -> None:
        super().__init__()
        if not teachers or len(num_classes) != len(teachers):
            raise ConfigError(
                f"{len(teachers)} teachers and {len(num_classes)} numbers of classes; pass one number for each teacher"
            )
        self.model, self.teachers, self.num_classes = student, tuple(teachers), tuple(num_classes)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of all heads."""
        return self.model(image)

    def loss(self, batch: PairedBatch) -> Float[Tensor, ""]:
        """Return the sum over the teachers of the cross-entropy with their predictions for the slices.

        Raises:
            ShapeError: if a teacher or the student has another number of classes than `num_classes`.
        """
        logits = self.model(batch.volumes.image)
        if logits.ndim != 2 or logits.shape[1] != sum(self.num_classes):
            raise ShapeError(
                f"the student returns {tuple(logits.shape)}, its teachers have "
                f"{' + '.join(map(str, self.num_classes))} classes; build it with one output for each"
            )
        images, total = batch.images.image, logits.new_zeros(())
        for teacher, head in zip(self.teachers, logits.split(self.num_classes, dim=1), strict=True):
            teacher.frozen.to(images.device)
            total = total + soft_cross_entropy(head, teacher.logits(images))
        return total

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the student."""
        return param_groups_layer_decay(self.model, lr)


def pair_with_slices(batch: VolumeBatch, size: int, seed: int, step: int) -> PairedBatch:
    """Pair each volume with an image of one of its slices, a function of (seed, step, index).

    Args:
        size: height and width of the images.
    """
    depth = batch.image.shape[2]
    chosen = [int(np.random.default_rng([seed, step, index]).integers(depth)) for index in range(len(batch.image))]
    slices = torch.stack([volume[:, z] for volume, z in zip(batch.image, chosen, strict=True)])
    names = tuple(f"{case}[{z}]" for case, z in zip(batch.cases, chosen, strict=True))
    return PairedBatch(batch, ImageBatch(slices_to_images(slices, size), None, names))


def slices_to_images(
    slices: Float[Tensor, "batch channels rows columns"], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Convert slices to images with values from 0 to 1, each scaled by its own quantiles.

    One channel becomes grey, three become red, green and blue; any other number is averaged first.
    """
    if slices.shape[1] not in (1, 3):
        slices = slices.mean(1, keepdim=True)
    flat = slices.flatten(2).float()
    low, high = (flat.quantile(q, dim=2)[..., None, None] for q in QUANTILES)
    scaled = ((slices - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    resized = F.interpolate(scaled, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized.expand(-1, 3, -1, -1).contiguous()
