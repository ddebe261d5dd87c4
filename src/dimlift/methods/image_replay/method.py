"""Image replay: the 2D teacher is distilled on images during 3D training to limit forgetting.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026 ("retrospective distillation")

    L = L_3D + lambda * T^2 * KL(softmax(t(x) / T) || softmax(s(x) / T))

over images x in addition to the volumes of a step; t is the frozen 2D network, s the student's weights between t's own
stem and head (`ImageBranch`). The published code uses the teacher's predicted class instead (`hard_labels`). The
temperature T is an addition.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PairedBatch, VolumeBatch
from dimlift.errors import RunError
from dimlift.losses.distillation import kl_to_teacher
from dimlift.methods.image_replay.image_branch import ImageBranch
from dimlift.methods.supervised.volumes import Supervised
from dimlift.methods.teachers.teacher import Teacher

PROBE_BATCH = 16
"""Images per forward pass when the agreement is measured."""


class ImageReplayDistillation(Supervised):
    """Supervised training with distillation of a 2D teacher on images.

    Args:
        model: has an `encoder` lifted from the teacher's network; the teacher is passed to `set_teacher`.
        distill_weight: lambda; 0 only measures forgetting.
        temperature: T.
        hard_labels: use cross-entropy with the teacher's predicted class instead of the KL divergence.
        options: keyword arguments of `Supervised`.

    Attributes:
        branch: the student as an image classifier; None at inference.
        probe_images: images on which the agreement with the teacher is measured.
        initial_agreement: agreement before training.
    """

    def __init__(
        self,
        model: nn.Module,
        *args: Any,
        distill_weight: float = 0.1,
        temperature: float = 1.0,
        hard_labels: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, *args, **options)
        self.distill_weight, self.temperature, self.hard_labels = distill_weight, temperature, hard_labels
        self.branch: ImageBranch | None = None
        self.probe_images: list[Tensor] = []
        self.initial_agreement: float | None = None

    def set_teacher(self, teacher: Teacher, probe_images: Iterable[Float[Tensor, "3 height width"]] = ()) -> None:
        """Set the teacher and the images on which agreement is measured.

        Args:
            teacher: the 2D network from which the encoder was lifted.
            probe_images: images with values from 0 to 1 that are not trained on.

        Raises:
            LiftError: if the encoder was not made from the teacher's network.
        """
        self.branch = ImageBranch(teacher, self._encoder)
        self.probe_images = list(probe_images)
        self.initial_agreement = self.teacher_agreement()

    def loss(self, batch: PairedBatch | VolumeBatch) -> Float[Tensor, ""]:
        """Return the loss of the task plus the weighted distillation loss.

        Raises:
            RunError: for a batch with images before `set_teacher`.
        """
        if isinstance(batch, VolumeBatch):
            return super().loss(batch)
        if self.branch is None:
            raise RunError("the batch has images, but there is no teacher; call set_teacher first")
        images = batch.images.image
        self.branch.teacher.frozen.to(images.device)
        distill_loss = kl_to_teacher(
            self.branch.logits(images),
            self.branch.teacher.logits(images),
            self.temperature,
            hard_labels=self.hard_labels,
        )
        return super().loss(batch.volumes) + self.distill_weight * distill_loss

    @torch.no_grad()
    def teacher_agreement(self) -> float | None:
        """Return the fraction of probe images classified as by the teacher; None without probe images."""
        if self.branch is None or not self.probe_images:
            return None
        device = next(self.parameters()).device
        self.branch.teacher.frozen.to(device)
        images = self.probe_images
        groups = [torch.stack(images[i : i + PROBE_BATCH]).to(device) for i in range(0, len(images), PROBE_BATCH)]
        return sum(self.branch.agreement(group) * len(group) for group in groups) / len(images)

    def report(self) -> dict[str, Any]:
        """Return the agreement with the teacher before and after training."""
        if self.initial_agreement is None:
            return {}
        count, agreement = len(self.probe_images), self.teacher_agreement()
        note = f"teacher agreement: {agreement:.3f} of {count} held-out images are classified as by the 2D network"
        return {
            "initial_teacher_agreement": self.initial_agreement,
            "teacher_agreement": agreement,
            "num_val_images": count,
            "notes": [f"{note}, {self.initial_agreement:.3f} before training"],
        }
