"""TubeViT: one vision transformer is trained on volumes (or videos) and images in the same step, each with a head.

- Piergiovanni et al., *Rethinking Video ViTs: Sparse Video Tubes for Joint Image and Video Learning*, CVPR 2023,
  https://arxiv.org/abs/2212.03229
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from dimlift.backbones.info import IMAGENET_MEAN, IMAGENET_STD
from dimlift.batch import PairedBatch, VolumeBatch
from dimlift.errors import RunError
from dimlift.losses.volume import classification_loss
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.tube_transformer import TubeTransformer


class TubeViT(Supervised):
    """L = L(volumes) + weight * cross-entropy(images) for batches with images; otherwise L(volumes).

    Args:
        model: transformer on tube tokens.
        image_loss_weight: weight of the images' loss.
        options: keyword arguments of `Supervised`.
    """

    model: TubeTransformer

    def __init__(self, model: TubeTransformer, *args: Any, image_loss_weight: float = 1.0, **options: Any) -> None:
        super().__init__(model, *args, **options)
        self.image_loss_weight = image_loss_weight

    def loss(self, batch: VolumeBatch | PairedBatch) -> Float[Tensor, ""]:
        """Return the loss of the volumes, plus the weighted loss of the images if there are any.

        Raises:
            RunError: if the images have no labels.
        """
        if isinstance(batch, VolumeBatch):
            return super().loss(batch)
        if batch.images.label is None:
            raise RunError("images trained together with volumes need labels; sort them into one folder per class")
        logits = self.model.forward_images(normalise_images(batch.images.image, self.model.tokenizer.in_channels))
        return super().loss(batch.volumes) + self.image_loss_weight * classification_loss(logits, batch.images.label)


def normalise_images(
    images: Float[Tensor, "batch 3 height width"], channels: int
) -> Float[Tensor, "batch channels height width"]:
    """Normalise images for a network of `channels` channels; three stay colours, any other number gets grey copies."""
    mean = images.new_tensor(IMAGENET_MEAN).view(1, -1, 1, 1)
    std = images.new_tensor(IMAGENET_STD).view(1, -1, 1, 1)
    normalised = (images - mean) / std
    return normalised if channels == 3 else normalised.mean(1, keepdim=True).expand(-1, channels, -1, -1)
