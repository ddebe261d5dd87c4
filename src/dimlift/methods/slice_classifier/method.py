"""Supervised training of a slice classifier; features of a frozen 2D network are cached."""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.batch import VolumeBatch
from dimlift.methods.slice_classifier.slice_features import SliceFeatureCache
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.slice_classifier import SliceClassifier


class SliceClassification(Supervised):
    """Supervised training of a `SliceClassifier`.

    Args:
        model: the classifier.
        task: "classification" or "regression".
        frozen: the encoder has no trainable parameters, not even adapters. Its features of training volumes, which are
            then not augmented, are cached.
        patch_size: (depth, height, width) of the training volumes.
        options: further arguments of `Supervised`.
    """

    def __init__(
        self,
        model: SliceClassifier,
        task: Literal["classification", "regression"],
        *,
        frozen: bool = False,
        patch_size: tuple[int, int, int] = (1, 1, 1),
        **options: Any,
    ) -> None:
        super().__init__(model, task, **options)
        self.caches_features, self.patch_size = frozen, patch_size
        self._cache: list[SliceFeatureCache] = []  # in a list, so that torch does not register the model again

    def cache_features(self, folder: Path | None) -> SliceFeatureCache:
        """Cache slice features in a folder; in memory if None."""
        self._cache[:] = [SliceFeatureCache(cast(SliceClassifier, self.model), folder)]
        return self._cache[0]

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the loss of `Supervised`, from cached features if the network is frozen."""
        if not self.caches_features:
            return super().loss(batch)
        cache = self._cache[0] if self._cache else self.cache_features(None)
        features = torch.stack([cache(volume) for volume in batch.image])
        return self.output_loss(cast(SliceClassifier, self.model).pool_slices(features)[0], batch.label)

    @torch.inference_mode()
    def slice_weights(self, image: Float[Tensor, "channels depth height width"]) -> Float[Tensor, " depth"]:
        """Return the weight of each slice in the prediction of a volume; weights sum to one."""
        self.eval()
        model = cast(SliceClassifier, self.model)
        device = next(self.parameters()).device
        return model.pool_slices(model.slice_features(image[None].to(device)))[1][0].float().cpu()
