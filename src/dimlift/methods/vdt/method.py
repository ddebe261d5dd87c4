"""VDT: a 3D network is pretrained on images, each passed as a volume of three slices.

The three colours of an image become three slices of one channel, in random order for every image, so that no slice
stands for a colour. The 3D network is trained to classify them with three slices at every stage; the same weights, with
depth pooling, then process volumes.

- Zhang et al., *Advancing 3D Medical Image Analysis with Variable Dimension Transform based Supervised 3D
  Pre-training*, 2022, https://arxiv.org/abs/2201.01426
"""

from typing import Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import ImageBatch
from dimlift.errors import ConfigError, RunError
from dimlift.losses.volume import classification_loss
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import freeze_layers, param_groups_layer_decay
from dimlift.methods.teachers.teacher import Teacher

GREY_MEAN, GREY_STD = 114.495 / 255, 57.63 / 255
"""Statistics of grey ImageNet images with values from 0 to 1; the same for all slices, whatever their colour."""


def images_to_volumes(
    images: Float[Tensor, "batch 3 height width"], orders: Tensor | None = None
) -> Float[Tensor, "batch 1 3 height width"]:
    """Convert colours to slices with common normalisation.

    Args:
        images: values from 0 to 1.
        orders: (batch, 3) colour of each slice; red, green, blue if None.
    """
    slices = (images - GREY_MEAN) / GREY_STD
    if orders is not None:
        slices = slices.gather(1, orders[:, :, None, None].expand_as(slices))
    return slices[:, None]


class VDT(Method[ImageBatch]):
    """Classification of images passed as volumes.

    Args:
        model: network (B, 1, 3, H, W) -> (B, classes) to pretrain.
        teacher: network whose soft labels are learnt; None uses the labels of the images.
        label_smoothing: probability mass spread over all classes, for labelled images.
        shuffle_colours: sample the order of the colours for every image; False keeps red, green, blue.
        num_frozen_layers: first layers of the encoder, starting with the stem, that are not trained.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher | None = None,
        *,
        label_smoothing: float = 0.0,
        shuffle_colours: bool = True,
        num_frozen_layers: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.teacher = model, teacher
        self.label_smoothing, self.shuffle_colours = label_smoothing, shuffle_colours
        if num_frozen_layers and not isinstance(getattr(model, "encoder", None), nn.Module):
            raise ConfigError(f"{num_frozen_layers=}, but {type(model).__name__} has no encoder; set it to 0")
        encoder = cast(nn.Module, model.encoder) if num_frozen_layers else None
        self._frozen_modules = freeze_layers(encoder, num_frozen_layers) if encoder is not None else []

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images with values from 0 to 1."""
        return self.model(images_to_volumes(images))

    def loss(self, batch: ImageBatch) -> Float[Tensor, ""]:
        """Return the cross-entropy with the images' labels, or with the teacher's soft labels.

        Raises:
            RunError: without labels and without a teacher.
        """
        orders = torch.rand(len(batch.image), 3, device=batch.image.device).argsort(1) if self.shuffle_colours else None
        logits = self.model(images_to_volumes(batch.image, orders))
        if self.teacher is not None:
            self.teacher.frozen.to(batch.image.device)
            return F.cross_entropy(logits.float(), self.teacher.logits(batch.image).float().softmax(1))
        if batch.label is None:
            raise RunError("the images have no labels and there is no teacher; sort them into one folder per class")
        return classification_loss(logits, batch.label, self.label_smoothing)

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the network."""
        return param_groups_layer_decay(self.model, lr)

    def train(self, mode: bool = True) -> Self:
        """Set training mode everywhere except in frozen layers, whose batch norms stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules:
            module.eval()
        return self
