"""One network learns the classes of volumes and the pseudo-labels of their voxels, side by side.

    L = CE(class of the volume) + Dice-CE(pseudo-labels)

Kienzle et al., 2022, https://arxiv.org/abs/2206.15073. The class is read off the coarsest map's mean by one linear
layer, ours in detail; it reads what a patch shows, so patches should hold volumes whole.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.segmenter import Segmenter


class Multitask(nn.Module):
    """Train a segmentation method and a class head on its encoder together.

    Args:
        method: `Supervised` around a `Segmenter`; what it learns of voxels is left in it.
        answers: the class of each volume, by name.
        classes: how many there are.

    Raises:
        ConfigError: if the method's network has no encoder whose maps could be read.
    """

    def __init__(self, method: nn.Module, answers: Mapping[str, int], classes: int) -> None:
        super().__init__()
        model = getattr(method, "model", None)
        if not isinstance(method, Supervised) or not isinstance(model, Segmenter):
            raise ConfigError(
                f"multitask reads classes off an encoder, {type(method).__name__} has none of the kind; "
                "use an arm such as lifted, slices or convnext3d"
            )
        self.method, self.model = method, model
        self.answers = dict(answers)
        encoder: Any = model.encoder
        self.head = nn.Linear(encoder.channels[-1], classes)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Both losses, weighed alike."""
        encoder: Any = self.model.encoder
        maps = encoder(batch.image)
        voxels = self.method.compare(self.model.decoder(maps, batch.image), batch.label)
        truth = torch.tensor([self.answers[name] for name in batch.cases], device=batch.image.device)
        return voxels + F.cross_entropy(self.head(maps[-1].mean(dim=(2, 3, 4))).float(), truth)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The method's own, and the class head."""
        return [
            *self.method.parameter_groups(rate),
            {"params": list(self.head.parameters()), "lr": rate, "name": "class"},
        ]

    def set_progress(self, progress: float) -> None:
        """Passed on."""
        self.method.set_progress(progress)
