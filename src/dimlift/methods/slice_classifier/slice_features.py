"""Vectors of slices on disk: what a frozen network sees in a volume that never changes is computed once."""

import hashlib
import time
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dimlift.methods.teachers.frozen_module import Frozen
from dimlift.models.slice_classifier import SliceClassifier
from dimlift.records.atomic_write import written_whole


class SliceVectors:
    """The vectors of volumes, by the encoder's weights, how it is shown slices, and every voxel.

    Args:
        model: its encoder is frozen.
        folder: where files are kept; without one they stay in memory.
    """

    def __init__(self, model: SliceClassifier, folder: Path | None = None) -> None:
        self.model, self.folder = model, folder
        self._network = Frozen(model.encoder).digest() + model.encoder.extra_repr()  # what is shown is not in weights
        self._kept: dict[str, tuple[Tensor, float]] = {}

    def __call__(self, volume: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "depth features"]:
        """What the network sees in each slice of a volume."""
        return self.timed(volume)[0]

    def timed(self, volume: Float[Tensor, "channels depth height width"]) -> tuple[Tensor, float]:
        """The vectors, and the seconds they took, now or when they were first computed."""
        key = self._key(volume)
        if key not in self._kept:
            self._kept[key] = self._read(key) or self._compute(key, volume)
        vectors, seconds = self._kept[key]
        return vectors.to(volume.device), seconds

    def _key(self, volume: Tensor) -> str:
        found = hashlib.sha256(f"{self._network}{tuple(volume.shape)}".encode())
        found.update(volume.detach().cpu().float().contiguous().numpy().tobytes())
        return found.hexdigest()

    def _compute(self, key: str, volume: Tensor) -> tuple[Tensor, float]:
        began = time.perf_counter()
        with torch.no_grad():
            vectors = self.model.vectors(volume[None])[0].float().cpu().contiguous()
        seconds = time.perf_counter() - began
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with written_whole(self.folder / f"{key}.safetensors") as scratch:
                save_file({"vectors": vectors}, scratch, metadata={"seconds": str(seconds)})
        return vectors, seconds

    def _read(self, key: str) -> tuple[Tensor, float] | None:
        path = None if self.folder is None else self.folder / f"{key}.safetensors"
        if path is None or not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as stored:
                return stored.get_tensor("vectors"), float((stored.metadata() or {})["seconds"])
        except (SafetensorError, OSError, KeyError, ValueError):
            return None  # a damaged file is written anew
