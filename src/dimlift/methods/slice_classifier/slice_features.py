"""Cache of slice features: a frozen network processes each unchanged volume once."""

import hashlib
import time
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.methods.teachers.frozen_module import FrozenModule
from dimlift.models.slice_classifier import SliceClassifier
from dimlift.records.sealed_tensors import read_or_warn, write_sealed


class SliceFeatureCache:
    """Slice features of volumes, keyed by the weights of the encoder, its input options and every voxel.

    Args:
        model: a classifier with a frozen encoder.
        folder: where files are stored; None keeps features in memory only.
    """

    def __init__(self, model: SliceClassifier, folder: Path | None = None) -> None:
        self.model, self.folder = model, folder
        # the digest covers the weights only, the representation also the input options
        self._encoder_key = FrozenModule(model.encoder).digest() + model.encoder.extra_repr()
        self._in_memory: dict[str, tuple[Tensor, float]] = {}

    def __call__(self, volume: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "depth features"]:
        """Return the features of each slice of a volume."""
        return self.timed(volume)[0]

    def timed(self, volume: Float[Tensor, "channels depth height width"]) -> tuple[Tensor, float]:
        """Return the features, and the seconds of their computation, now or when they were cached."""
        key = self._key(volume)
        if key not in self._in_memory:
            self._in_memory[key] = self._read(key) or self._compute(key, volume)
        features, seconds = self._in_memory[key]
        return features.to(volume.device), seconds

    def _key(self, volume: Tensor) -> str:
        digest = hashlib.sha256(f"{self._encoder_key}{tuple(volume.shape)}".encode())
        digest.update(volume.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _compute(self, key: str, volume: Tensor) -> tuple[Tensor, float]:
        start = time.perf_counter()
        with torch.no_grad():
            features = self.model.slice_features(volume[None])[0].float().cpu().contiguous()
        seconds = time.perf_counter() - start
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_sealed(self.folder / f"{key}.safetensors", {"vectors": features}, {"seconds": str(seconds)})
        return features, seconds

    def _read(self, key: str) -> tuple[Tensor, float] | None:
        path = None if self.folder is None else self.folder / f"{key}.safetensors"
        stored = None if path is None else read_or_warn(path)
        return None if stored is None else (stored[0]["vectors"], float(stored[1]["seconds"]))
