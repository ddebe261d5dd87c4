"""Feature augmentation: several feature sets per volume, extracted under different intensities and scales.

Image augmentation changes a patch at every step, while features that are extracted once stay the same, and a long
schedule overfits to them. With several feature sets per volume, one sampled per patch, features vary like the image.
"""

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class FeatureAugmentation:
    """Change of a volume, scaled to [0, 1], before feature extraction.

    Attributes:
        gamma: exponent of the intensities.
        gain: factor of the intensities, after the exponent.
        offset: added to the intensities, after the factor.
        noise: standard deviation of Gaussian noise per voxel.
        upsample: factor of the slice size.
        seed: seed of the noise.
    """

    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    upsample: float = 1.0
    seed: int = 0

    def __call__(self, volume: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "channels d h w"]:
        """Return the augmented volume; `upsample` is applied by the extractor."""
        if self == IDENTITY:
            return volume
        changed = volume.pow(self.gamma) * self.gain + self.offset
        if self.noise:
            generator = torch.Generator().manual_seed(self.seed)
            changed = changed + self.noise * torch.randn(volume.shape, generator=generator).to(volume)
        return changed

    def to_json(self) -> dict[str, Any]:
        """Return the values as plain JSON."""
        return asdict(self)


IDENTITY = FeatureAugmentation()
"""No change; used for prediction, and for the first feature set in training."""


def sample_feature_augmentations(
    image: Float[Tensor, "channels depth height width"], count: int, seed: int = 0
) -> list[FeatureAugmentation]:
    """Return `IDENTITY` and `count - 1` random augmentations, determined by the voxels and the seed."""
    rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(image.cpu().numpy()).data)])
    return [
        IDENTITY,
        *(
            FeatureAugmentation(
                gamma=float(rng.uniform(0.6, 1.6)),
                gain=float(rng.uniform(0.7, 1.1)),
                offset=float(rng.uniform(-0.05, 0.15)),
                noise=float(rng.uniform(0, 0.08) * (rng.random() < 0.5)),
                upsample=float(rng.uniform(0.85, 1.15)),
                seed=int(rng.integers(2**31)),
            )
            for _ in range(count - 1)
        ),
    ]
