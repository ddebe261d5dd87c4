"""On-disk cache of features, one file per volume, keyed by everything the features depend on."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16
from torch import Tensor

from dimlift.methods.frozen_features.extraction import FeatureExtractor, Spacing
from dimlift.methods.frozen_features.feature_augmentation import IDENTITY, FeatureAugmentation
from dimlift.records.sealed_tensors import read_or_warn, write_sealed

FORMAT = 1
"""Part of every key; incremented when the same settings produce other features."""


class FeatureCache:
    """Feature maps of volumes, extracted once.

    Args:
        folder: where files are stored; created with the first file.
        extractor: extracts the features of volumes that are not stored.

    Attributes:
        hits: number of volumes read from disk.
        misses: number of volumes extracted.
        seconds: total time of extraction.
    """

    def __init__(self, folder: Path, extractor: FeatureExtractor) -> None:
        self.folder, self.extractor = folder, extractor
        self.hits, self.misses, self.seconds = 0, 0, 0.0

    def key(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        augmentation: FeatureAugmentation = IDENTITY,
    ) -> str:
        """Return the SHA-256 of weights, settings, spacing, augmentation and every voxel."""
        facts = {"format": FORMAT, "settings": self.extractor.settings.hashed_settings()}
        facts |= {"weights": self.extractor.digest}
        facts |= {"mean": self.extractor.backbone.mean, "std": self.extractor.backbone.std}
        facts |= {"spacing": [float(s) for s in spacing], "shape": list(image.shape)}
        facts |= {"augmentation": augmentation.to_json()}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(image.detach().cpu().float().numpy()).data)
        return digest.hexdigest()

    def __call__(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        augmentation: FeatureAugmentation = IDENTITY,
    ) -> list[Float16[Tensor, "kept d h w"]]:
        """Return the feature maps of a volume, from disk if stored; a damaged file is replaced, with a warning."""
        path = self.folder / f"{self.key(image, spacing, augmentation)}.safetensors"
        stored = _read(path)
        if stored is not None:
            self.hits += 1
            return stored
        start = time.perf_counter()
        maps = self.extractor(image, spacing, augmentation)
        self.seconds += time.perf_counter() - start
        self.misses += 1
        self._write(path, maps)
        return maps

    def _write(self, path: Path, maps: list[Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"settings": json.dumps(self.extractor.settings.to_json()), "network": self.extractor.digest}
        write_sealed(path, {f"{index:03d}": each for index, each in enumerate(maps)}, settings)


def _read(path: Path) -> list[Tensor] | None:
    stored = read_or_warn(path)
    return None if stored is None else [stored[0][name] for name in sorted(stored[0])]
