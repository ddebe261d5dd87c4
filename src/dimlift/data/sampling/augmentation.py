"""Augmentation settings, and intensity augmentation with the transforms and probabilities of nnU-Net, by MONAI.

Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from monai.transforms import (
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandomizableTransform,
    RandScaleIntensity,
    RandScaleIntensityFixedMean,
    RandShiftIntensity,
    RandSimulateLowResolution,
)
from torch import Tensor

from dimlift.data.orientation import Axis
from dimlift.data.sampling.spatial_augmentation import SpatialAugmentation
from dimlift.errors import UnknownNameError


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training patches; the defaults are those of nnU-Net, except mirroring.

    Attributes:
        spatial: rotation, scaling, deformation.
        mirror_axes: anatomical axes that a patch is mirrored along, each with probability one half. Empty by default,
            because mirroring along x swaps left and right, which is wrong for labels with a side. nnU-Net uses
            ("z", "y", "x").
        intensity: factor on the probabilities of intensity augmentation; 0 disables it.
    """

    spatial: SpatialAugmentation = field(default_factory=SpatialAugmentation)
    mirror_axes: tuple[Axis, ...] = ()
    intensity: float = 1.0

    def __post_init__(self) -> None:
        for axis in self.mirror_axes:
            if axis not in ("z", "y", "x"):
                raise UnknownNameError("mirror axis", str(axis), ("z", "y", "x"))


class IntensityAugmentation:
    """Noise, blur, brightness, contrast, shift, low resolution and gamma, in this order.

    Args:
        strength: factor on the probabilities.
    """

    def __init__(self, strength: float = 1.0) -> None:
        self._transforms: list[RandomizableTransform] = [
            RandGaussianNoise(prob=0.1 * strength, std=0.3),
            RandGaussianSmooth((0.5, 1.0), (0.5, 1.0), (0.5, 1.0), prob=0.2 * strength),
            RandScaleIntensity(factors=(-0.25, 0.25), prob=0.15 * strength),
            RandShiftIntensity(offsets=0.1, prob=0.15 * strength),
            RandScaleIntensityFixedMean(factors=0.25, preserve_range=True, prob=0.15 * strength),
            RandSimulateLowResolution(prob=0.125 * strength, zoom_range=(0.5, 1.0)),
            RandAdjustContrast(prob=0.1 * strength, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            RandAdjustContrast(prob=0.3 * strength, gamma=(0.7, 1.5), retain_stats=True),
        ]

    def __call__(
        self, image: Float[Tensor, "channels D H W"], rng: np.random.Generator
    ) -> Float[Tensor, "channels D H W"]:
        """Return an augmented patch; the result depends only on the state of the generator."""
        state = np.random.RandomState(rng.integers(2**32, dtype=np.uint32))
        for transform in self._transforms:
            transform.set_random_state(state=state)
            image = transform(image)
        return image.as_tensor() if hasattr(image, "as_tensor") else image
