"""Dense features of images from a frozen 2D network, optionally cached on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.batch import FrameBatch
from dimlift.errors import RunError
from dimlift.geometry.views import sample_at
from dimlift.methods.teachers.teacher import Teacher
from dimlift.records.sealed_tensors import read_or_warn, write_sealed

CACHE_VERSION = 1
"""Part of every key; incremented when the same network and image yield other features."""
FeatureFn = Callable[[Teacher, Tensor], Tensor]
"""Maps images with values from 0 to 1 to (B, channels, h, w)."""
DEFAULT_PATCH = 32
"""Images are resized to multiples of this many pixels, unless the network has a patch size of its own."""


class CachedFeatureMaps:
    """The last map of a frozen network for images of any size.

    Args:
        teacher: the frozen network.
        cache: folder for half-precision maps, keyed by the network's weights and the image; None disables caching.
        upsample: factor by which images are enlarged first, which makes the map finer.
        feature_fn: the features to compute; its name is part of the key.

    Attributes:
        hits, misses: numbers of images found in the cache, and computed.
    """

    def __init__(
        self,
        teacher: Teacher,
        cache: Path | None = None,
        upsample: float = 1.0,
        feature_fn: FeatureFn = Teacher.feature_map,
    ) -> None:
        self.teacher, self.cache, self.upsample, self.feature_fn = teacher, cache, upsample, feature_fn
        self.hits, self.misses = 0, 0
        self._digest: str | None = None

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Return maps that cover the images from border to border, without gradients.

        Raises:
            RunError: if a map exceeds the range of half precision.
        """
        if self.cache is None:
            return self._compute(images)
        return torch.cat([self._load_or_compute(image[None]) for image in images]).to(images)

    @property
    def channels(self) -> int:
        """Channels of a map."""
        probe = torch.zeros(1, 3, 224, 224, device=next(self.teacher.frozen.network.parameters()).device)
        return self.feature_fn(self.teacher, probe).shape[1]

    def key(self, image: Float[Tensor, "1 3 height width"]) -> str:
        """Return the sha256 of weights, normalisation, size, feature function and every pixel."""
        self._digest = self._digest or self.teacher.frozen.digest()
        facts = {
            "version": CACHE_VERSION,
            "weights": self._digest,
            "mean": self.teacher.mean,
            "std": self.teacher.std,
            "upsample": self.upsample,
            "shape": list(image.shape),
            "feature_fn": getattr(self.feature_fn, "__qualname__", ""),
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(image.detach().cpu().float().contiguous().numpy().data)
        return digest.hexdigest()

    def _load_or_compute(self, image: Tensor) -> Tensor:
        folder = cast(Path, self.cache)
        path = folder / f"{self.key(image)}.safetensors"
        stored = read_or_warn(path)
        if stored is not None:
            self.hits += 1
            return stored[0]["map"].float()
        features = self._compute(image).cpu().half()
        if not torch.isfinite(features).all():
            raise RunError(
                f"features of {self.teacher.name or 'the network'} exceed the range of half precision; disable the "
                "cache"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(path, {"map": features}, {})
        return features.float()

    def _compute(self, images: Tensor) -> Tensor:
        self.misses += len(images)
        self.teacher.frozen.to(images.device)
        return self.feature_fn(self.teacher, resize_to_patches(images, self.teacher, self.upsample)).float()


def resize_to_patches(
    images: Float[Tensor, "batch 3 height width"], teacher: Teacher, upsample: float = 1.0
) -> Float[Tensor, "batch 3 h w"]:
    """Resize images to a whole number of the network's patches; normalised coordinates (-1 to 1) are unaffected."""
    patch = getattr(getattr(teacher.frozen.network, "patch_embed", None), "patch_size", None)
    steps = patch if isinstance(patch, tuple) else (DEFAULT_PATCH, DEFAULT_PATCH)
    size = [max(1, round(side * upsample / step)) * step for side, step in zip(images.shape[2:], steps, strict=True)]
    if size == list(images.shape[2:]):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def sample_pairs(
    maps: Float[Tensor, "batch channels h w"], uv: Float[Tensor, "pairs 2"], image: Int[Tensor, " pairs"]
) -> Float[Tensor, "pairs channels"]:
    """Sample maps bilinearly at image coordinates, without upsampling the maps.

    Args:
        uv: (x, y) of each pair, from -1 to 1.
        image: index of each pair's image, in ascending order.
    """
    return torch.cat([sample_at(maps[i : i + 1], uv[image == i][None])[0] for i in range(len(maps))])


def pair_features(maps: Float[Tensor, "batch channels h w"], batch: FrameBatch) -> Float[Tensor, "pairs channels"]:
    """Sample the maps at the pixels of a batch's pairs."""
    return sample_pairs(maps, batch.pair_uv, batch.frame[batch.pair_points])
