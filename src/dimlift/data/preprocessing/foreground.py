"""Voxel positions of each class, for patches centred on foreground."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_VOXELS_PER_CLASS = 10_000
_SEED = 0


def voxels_by_class(label: NDArray[np.int16]) -> dict[int, NDArray[np.int32]]:
    """Return (z, y, x) of voxels of every foreground class, a fixed random sample of at most 10,000 of each."""
    voxels = {}
    for value in np.unique(label[label > 0]):
        indices = np.flatnonzero(label == value)
        if len(indices) > _MAX_VOXELS_PER_CLASS:
            indices = np.random.default_rng(_SEED).choice(indices, _MAX_VOXELS_PER_CLASS, replace=False)
        voxels[int(value)] = np.stack(np.unravel_index(indices, label.shape), axis=1).astype(np.int32)
    return voxels


class ForegroundIndex:
    """Voxels of every foreground class in every sample.

    Args:
        samples: voxels by class (`voxels_by_class`) of each sample.
    """

    def __init__(self, samples: Sequence[Mapping[int, NDArray[np.int32]]]) -> None:
        self._voxels: dict[int, dict[int, NDArray[np.int32]]] = {}
        for number, classes in enumerate(samples):
            for value, voxels in classes.items():
                self._voxels.setdefault(value, {})[number] = voxels

    def __bool__(self) -> bool:
        return bool(self._voxels)

    def sample(self, rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
        """Return the index of a sample and one of its foreground voxels.

        The class is uniform over all classes, then the sample over all samples with this class, so that a class of ten
        voxels in one sample is as frequent as the largest.
        """
        by_sample = self._voxels[int(rng.choice(sorted(self._voxels)))]
        number = int(rng.choice(sorted(by_sample)))
        z, y, x = (int(value) for value in rng.choice(by_sample[number]))
        return number, (z, y, x)
