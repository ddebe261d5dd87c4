"""VDT: a 3D network is pretrained on photographs, each shown as a volume of three slices.

The three colours of a picture become three slices of one channel, in an order drawn anew for every picture, so that no
slice stands for a colour. The 3D network learns to classify them with depth left at three slices; the same weights,
with depth reduced, then read volumes.

- Zhang et al., *Advancing 3D Medical Image Analysis with Variable Dimension Transform based Supervised 3D
  Pre-training*, 2022, https://arxiv.org/abs/2201.01426
"""

from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import ImageBatch
from dimlift.errors import ConfigError, RunError
from dimlift.losses.volume import classification_loss
from dimlift.methods.supervised.freeze import freeze_first
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.teacher import Teacher

GREY_MEAN, GREY_DEVIATION = 114.495 / 255, 57.63 / 255
"""Of ImageNet's pictures in grey, values from 0 to 1: one pair for all slices, whatever colour they were."""


def pictures_as_volumes(
    pictures: Float[Tensor, "batch 3 height width"], orders: Tensor | None = None
) -> Float[Tensor, "batch 1 3 height width"]:
    """Colours become slices, normalised alike.

    Args:
        pictures: values from 0 to 1.
        orders: (batch, 3) which colour each slice shows; red, green, blue if None.
    """
    slices = (pictures - GREY_MEAN) / GREY_DEVIATION
    if orders is not None:
        slices = slices.gather(1, orders[:, :, None, None].expand_as(slices))
    return slices[:, None]


class VDT(nn.Module):
    """Train `student` to classify pictures shown as volumes.

    Args:
        student: (B, 1, 3, H, W) -> (B, classes).
        teacher: answers where the pictures carry no class: the student learns its soft labels.
        label_smoothing: for pictures with classes.
        shuffle: draw the order of the colours for every picture; False keeps red, green, blue.
        freeze_layers: of the student's encoder, the stem first, that stay as they are.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher | None = None,
        *,
        label_smoothing: float = 0.0,
        shuffle: bool = True,
        freeze_layers: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.teacher = student, teacher
        self.label_smoothing, self.shuffle = label_smoothing, shuffle
        if freeze_layers and not isinstance(getattr(student, "encoder", None), nn.Module):
            raise ConfigError(f"{freeze_layers=}, but {type(student).__name__} has no encoder; set it to 0")
        self._still = freeze_first(cast(nn.Module, student.encoder), freeze_layers) if freeze_layers else []

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of pictures with values from 0 to 1."""
        return self.model(pictures_as_volumes(pictures))

    def loss(self, batch: ImageBatch) -> Float[Tensor, ""]:
        """Cross-entropy with the pictures' classes, or with the teacher's soft labels.

        Raises:
            RunError: if the pictures have no class, and there is no teacher.
        """
        orders = torch.rand(len(batch.image), 3, device=batch.image.device).argsort(1) if self.shuffle else None
        logits = self.model(pictures_as_volumes(batch.image, orders))
        if self.teacher is not None:
            self.teacher.frozen.to(batch.image.device)
            return F.cross_entropy(logits.float(), self.teacher.logits(batch.image).float().softmax(1))
        if batch.label is None:
            raise RunError("the pictures carry no class and there is no teacher; put them in a folder for each class")
        return classification_loss(logits, batch.label, self.label_smoothing)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The student alone."""
        return parameter_groups(self.model, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but frozen layers, whose batch norms would otherwise move."""
        super().train(mode)
        for layer in self._still:
            layer.eval()
        return self
