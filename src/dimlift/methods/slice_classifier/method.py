"""Supervised learning of a slice classifier; where its 2D network is frozen, slices are looked at once."""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.batch import VolumeBatch
from dimlift.methods.slice_classifier.slice_features import SliceVectors
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.slice_classifier import SliceClassifier


class SliceClassification(Supervised):
    """Train a `SliceClassifier` on one answer for each volume.

    Args:
        model: the classifier.
        frozen: its encoder learns nothing, not even adapters. Training volumes are then not augmented, and what the
            network sees in them is kept.
        patch_size: (depth, height, width) of the volumes training shows.
        learning: what `Supervised` takes.

    Attributes:
        remembers: whether volumes must come to training as they are.
    """

    def __init__(
        self,
        model: SliceClassifier,
        task: Literal["classification", "regression"],
        *,
        frozen: bool = False,
        patch_size: tuple[int, int, int] = (1, 1, 1),
        **learning: Any,
    ) -> None:
        super().__init__(model, task, **learning)
        self.remembers, self.patch_size = frozen, patch_size
        self._store: list[SliceVectors] = []  # a list: torch would not look into it, and deep copies stay small

    def remember(self, folder: Path | None) -> SliceVectors:
        """Keep vectors in a folder from now on."""
        self._store[:] = [SliceVectors(cast(SliceClassifier, self.model), folder)]
        return self._store[0]

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """As `Supervised`, on kept vectors where the network is frozen."""
        if not self.remembers:
            return super().loss(batch)
        store = self._store[0] if self._store else self.remember(None)
        vectors = torch.stack([store(volume) for volume in batch.image])
        return self.compare(cast(SliceClassifier, self.model).answer(vectors)[0], batch.label)

    @torch.inference_mode()
    def slice_weights(self, image: Float[Tensor, "channels depth height width"]) -> Float[Tensor, " depth"]:
        """The share of each slice in the answer for one volume; they sum to one."""
        self.eval()
        model = cast(SliceClassifier, self.model)
        device = next(self.parameters()).device
        return model.answer(model.vectors(image[None].to(device)))[1][0].float().cpu()
