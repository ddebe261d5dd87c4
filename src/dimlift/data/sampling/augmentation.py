"""Random intensities, the same kinds and probabilities as nnU-Net, from MONAI's transforms.

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
from dimlift.data.sampling.spatial_augmentation import WarpSettings
from dimlift.errors import UnknownName


@dataclass(frozen=True)
class Augmentation:
    """What chance may do to a training patch; the defaults are nnU-Net's, mirroring apart.

    Attributes:
        warp: rotation, scaling, deformation.
        mirror_axes: anatomical axes a patch may be mirrored along, each with probability one half. None by default:
            mirroring along x swaps left and right, which is wrong wherever a label has a side. ("z", "y", "x") is
            what nnU-Net does.
        intensity: how often intensities change, relative to nnU-Net; 0 switches it off.
    """

    warp: WarpSettings = field(default_factory=WarpSettings)
    mirror_axes: tuple[Axis, ...] = ()
    intensity: float = 1.0

    def __post_init__(self) -> None:
        for axis in self.mirror_axes:
            if axis not in ("z", "y", "x"):
                raise UnknownName("mirror axis", str(axis), ("z", "y", "x"))


class IntensityAugmentation:
    """Noise, blur, brightness, contrast, shift, low resolution and gamma, in this order."""

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
        """Change a patch; what happens depends on the generator alone."""
        state = np.random.RandomState(rng.integers(2**32, dtype=np.uint32))
        for transform in self._transforms:
            transform.set_random_state(state=state)
            image = transform(image)
        return image.as_tensor() if hasattr(image, "as_tensor") else image
