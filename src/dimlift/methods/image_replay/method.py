"""Retrospective distillation: while a network learns volumes, it keeps answering pictures as its 2D teacher does.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026

    L = L_3D + lambda * T^2 * KL(softmax(t(x) / T) || softmax(s(x) / T))

over pictures x beside the volumes of a step; t is the frozen 2D network, s the student's body between t's own
tokenizer and head (`PicturePath`). The published program takes the teacher's first class as a hard label instead
(`hard`); the equation above is from memory of the text, and its temperature T is ours.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PairedBatch, VolumeBatch
from dimlift.errors import RunError
from dimlift.losses.distillation import kl_to_teacher
from dimlift.methods.image_replay.image_branch import PicturePath
from dimlift.methods.supervised.volumes import Supervised
from dimlift.methods.teachers.teacher import Teacher


class Retrospect(Supervised):
    """Train `model` on labels, and remind it of pictures.

    Args:
        model: has an `encoder` lifted from the teacher's network; the teacher comes with `remember`.
        retention: lambda; 0 only measures what is forgotten.
        temperature: T.
        hard: cross-entropy to the teacher's first class instead of the KL.
        learning: what `Supervised` takes.

    Attributes:
        path: asks the student about pictures; None where nothing is to be remembered (prediction).
    """

    def __init__(
        self,
        model: nn.Module,
        *arguments: Any,
        retention: float = 0.1,
        temperature: float = 1.0,
        hard: bool = False,
        **learning: Any,
    ) -> None:
        super().__init__(model, *arguments, **learning)
        self.retention, self.temperature, self.hard = retention, temperature, hard
        self.path: PicturePath | None = None
        self.asked: list[Tensor] = []
        self.at_start: float | None = None

    def remember(self, teacher: Teacher, asked: Iterable[Float[Tensor, "3 height width"]] = ()) -> None:
        """Say whose answers are to be kept, and by which pictures that is judged.

        Args:
            teacher: the 2D network the encoder was lifted from.
            asked: held-out pictures with values from 0 to 1, which are never learnt from.

        Raises:
            CannotLift: if the encoder does not come from the teacher's network.
        """
        self.path = PicturePath(teacher, self._encoder)
        self.asked = list(asked)
        self.at_start = self.memory_kept()

    def loss(self, batch: PairedBatch | VolumeBatch) -> Float[Tensor, ""]:
        """The task's loss, plus retention times the distance to the teacher's answers.

        Raises:
            RunError: for a batch with pictures before `remember`.
        """
        if isinstance(batch, VolumeBatch):
            return super().loss(batch)
        if self.path is None:
            raise RunError("the batch holds pictures and there is no teacher to ask; call remember(teacher) first")
        pictures = batch.pictures.image
        self.path.teacher.frozen.to(pictures.device)
        recalled = kl_to_teacher(
            self.path.logits(pictures), self.path.teacher.logits(pictures), self.temperature, hard=self.hard
        )
        return super().loss(batch.volumes) + self.retention * recalled

    @torch.no_grad()
    def memory_kept(self, at_once: int = 16) -> float | None:
        """Share of the held-out pictures that the student answers as its teacher does; None where there are none."""
        if self.path is None or not self.asked:
            return None
        device = next(self.parameters()).device
        self.path.teacher.frozen.to(device)
        groups = [torch.stack(self.asked[i : i + at_once]).to(device) for i in range(0, len(self.asked), at_once)]
        return sum(self.path.agreement(group) * len(group) for group in groups) / len(self.asked)

    def report(self) -> dict[str, Any]:
        """For the record: 2D memory kept before and after training."""
        if self.at_start is None:
            return {}
        count, kept = len(self.asked), self.memory_kept()
        note = f"2D memory kept: {kept:.3f} of {count} held-out pictures are answered as by the 2D network"
        return {
            "memory_at_start": self.at_start,
            "memory_kept": kept,
            "held_out_pictures": count,
            "notes": [f"{note}, {self.at_start:.3f} before training"],
        }
