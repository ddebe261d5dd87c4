"""Several looks at one volume, so that a U-Net does not take what the 2D network saw once for the truth.

Augmentation changes a patch at every step; features taken once do not change with it, and a long schedule learns to
lean on them. Extracted under a few brightnesses and sizes, one drawn for each patch, they vary as the image does.
"""

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Look:
    """How a volume, scaled to [0, 1], is shown to the 2D network.

    Attributes:
        gamma: power of the intensities.
        gain: factor of the intensities, after the power.
        offset: added to them, after the factor.
        noise: standard deviation of Gaussian noise added to every voxel.
        enlarge: factor of the size of the slices.
        seed: of the noise.
    """

    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    enlarge: float = 1.0
    seed: int = 0

    def __call__(self, shown: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "channels d h w"]:
        """The volume under this look."""
        if self == PLAIN:
            return shown
        changed = shown.pow(self.gamma) * self.gain + self.offset
        if self.noise:
            draw = torch.Generator().manual_seed(self.seed)
            changed = changed + self.noise * torch.randn(shown.shape, generator=draw).to(shown)
        return changed

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


PLAIN = Look()
"""The volume as it is: the look of prediction, and the first one of training."""


def draw_looks(image: Float[Tensor, "channels depth height width"], count: int, seed: int = 0) -> list[Look]:
    """The plain look and `count - 1` others, which follow from the voxels and the seed alone."""
    rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(image.cpu().numpy()).data)])
    return [
        PLAIN,
        *(
            Look(
                gamma=float(rng.uniform(0.6, 1.6)),
                gain=float(rng.uniform(0.7, 1.1)),
                offset=float(rng.uniform(-0.05, 0.15)),
                noise=float(rng.uniform(0, 0.08) * (rng.random() < 0.5)),
                enlarge=float(rng.uniform(0.85, 1.15)),
                seed=int(rng.integers(2**31)),
            )
            for _ in range(count - 1)
        ),
    ]
