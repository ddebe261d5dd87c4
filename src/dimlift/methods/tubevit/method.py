"""TubeViT: one vision transformer learns volumes (or videos) and pictures in the same step, each with a head.

- Piergiovanni et al., *Rethinking Video ViTs: Sparse Video Tubes for Joint Image and Video Learning*, CVPR 2023,
  https://arxiv.org/abs/2212.03229
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from dimlift.backbones.info import IMAGENET_DEVIATION, IMAGENET_MEAN
from dimlift.batch import PairedBatch, VolumeBatch
from dimlift.errors import RunError
from dimlift.losses.volume import classification_loss
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.tube_transformer import TubeTransformer


class TubeViT(Supervised):
    """L = L(volumes) + weight * cross-entropy(pictures), where a batch holds pictures; else L(volumes).

    Args:
        model: the transformer behind tubes.
        picture_weight: of the pictures' loss.
        learning: what `Supervised` takes.
    """

    model: TubeTransformer

    def __init__(self, model: TubeTransformer, *args: Any, picture_weight: float = 1.0, **learning: Any) -> None:
        super().__init__(model, *args, **learning)
        self.picture_weight = picture_weight

    def loss(self, batch: VolumeBatch | PairedBatch) -> Float[Tensor, ""]:
        """The loss of the volumes, and beside it that of the pictures.

        Raises:
            RunError: if the pictures carry no class.
        """
        if isinstance(batch, VolumeBatch):
            return super().loss(batch)
        if batch.pictures.label is None:
            raise RunError("pictures learnt beside volumes need classes; put them in a folder for each class")
        logits = self.model.pictures(shown_as_slices(batch.pictures.image, self.model.tokenizer.in_channels))
        return super().loss(batch.volumes) + self.picture_weight * classification_loss(logits, batch.pictures.label)


def shown_as_slices(
    pictures: Float[Tensor, "batch 3 height width"], channels: int
) -> Float[Tensor, "batch channels height width"]:
    """Pictures as a network for `channels` channels reads them: three stay colours, any other number sees grey."""
    mean = pictures.new_tensor(IMAGENET_MEAN).view(1, -1, 1, 1)
    deviation = pictures.new_tensor(IMAGENET_DEVIATION).view(1, -1, 1, 1)
    normalised = (pictures - mean) / deviation
    return normalised if channels == 3 else normalised.mean(1, keepdim=True).expand(-1, channels, -1, -1)
