"""Joint training of a network on classes of volumes and pseudo-labels of their voxels.

    L = CE(class of the volume) + Dice-CE(pseudo-labels)

Kienzle et al., 2022, https://arxiv.org/abs/2206.15073. The class is predicted from the mean of the coarsest map by one
linear layer, a detail of this implementation. It depends on the patch only, so patches should contain whole volumes.
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.encoder_protocol import FeatureMapEncoder
from dimlift.models.segmenter import Segmenter


class Multitask(Method[VolumeBatch]):
    """Train a segmentation method together with a classification head on its encoder.

    Args:
        method: `Supervised` around a `Segmenter`; its network is trained in place.
        labels: the class of each volume, by name.
        num_classes: number of classes.

    Raises:
        ConfigError: if the network of the method has no encoder of feature maps.
    """

    def __init__(self, method: nn.Module, labels: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        model = method.model if isinstance(method, Supervised) else None
        if not isinstance(method, Supervised) or not isinstance(model, Segmenter):
            raise ConfigError(
                f"multitask classifies from the maps of an encoder, but the network of {type(method).__name__} has "
                "none; use a method such as lifted, slicewise or convnext3d"
            )
        self.method, self.model = method, model
        self.labels = dict(labels)
        self.head = nn.Linear(cast(FeatureMapEncoder, model.encoder).channels[-1], num_classes)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the sum of both losses."""
        maps = cast(FeatureMapEncoder, self.model.encoder)(batch.image)
        segmentation = self.method.output_loss(self.model.decoder(maps, batch.image), batch.label)
        labels = torch.tensor([self.labels[name] for name in batch.cases], device=batch.image.device)
        return segmentation + F.cross_entropy(self.head(maps[-1].mean(dim=(2, 3, 4))).float(), labels)

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the groups of the method and the classification head."""
        return [
            *self.method.param_groups(lr),
            {"params": list(self.head.parameters()), "lr": lr, "name": "class"},
        ]

    def on_progress(self, progress: float) -> None:
        """Notify the method."""
        self.method.on_progress(progress)
