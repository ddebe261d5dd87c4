"""Features on disk, one file a volume, found again by what they depend on."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dimlift.methods.frozen_features.extraction import Extractor, Spacing
from dimlift.methods.frozen_features.feature_augmentation import PLAIN, Look
from dimlift.records.atomic_write import written_whole

FORMAT = 1
"""Part of every key: raised when the same settings give other features."""


class FeatureCache:
    """Maps of volumes, extracted once.

    Args:
        folder: where files are kept; made when the first one is written.
        extractor: asked when a volume is not there.

    Attributes:
        hits: volumes found on disk.
        misses: volumes extracted.
        seconds: spent extracting.
    """

    def __init__(self, folder: Path, extractor: Extractor) -> None:
        self.folder, self.extractor = folder, extractor
        self.hits, self.misses, self.seconds = 0, 0, 0.0

    def key(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        look: Look = PLAIN,
    ) -> str:
        """sha256 of weights, settings, spacing, look and every voxel."""
        facts = {"format": FORMAT, "settings": self.extractor.settings.decisive(), "weights": self.extractor.digest}
        facts |= {"mean": self.extractor.network.mean, "deviation": self.extractor.network.deviation}
        facts |= {"spacing": [float(s) for s in spacing], "shape": list(image.shape)}
        facts |= {"look": look.to_json()}
        found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        found.update(np.ascontiguousarray(image.detach().cpu().float().numpy()).data)
        return found.hexdigest()

    def __call__(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        look: Look = PLAIN,
    ) -> list[Float16[Tensor, "kept d h w"]]:
        """What the extractor gives for this volume, from disk if it is there; a damaged file is written anew."""
        path = self.folder / f"{self.key(image, spacing, look)}.safetensors"
        found = _read(path)
        if found is not None:
            self.hits += 1
            return found
        start = time.perf_counter()
        maps = self.extractor(image, spacing, look)
        self.seconds += time.perf_counter() - start
        self.misses += 1
        self._write(path, maps)
        return maps

    def _write(self, path: Path, maps: list[Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"settings": json.dumps(self.extractor.settings.to_json()), "network": self.extractor.digest}
        with written_whole(path) as scratch:
            save_file({f"{index:03d}": each for index, each in enumerate(maps)}, scratch, metadata=settings)


def _read(path: Path) -> list[Tensor] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            return [stored.get_tensor(name) for name in sorted(stored.keys())]
    except (SafetensorError, OSError):
        return None
