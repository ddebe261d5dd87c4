"""Where each class lies, so that patches can be centred on rare ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dimlift.data.sample import Sample

_VOXELS_PER_CLASS = 10_000
_SEED = 0


class ForegroundIndex:
    """Voxels of every foreground class, a fixed sample of at most 10 000 per case and class."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._voxels: dict[int, dict[int, NDArray[np.int32]]] = {}
        for number, sample in enumerate(samples):
            if not isinstance(sample.label, np.ndarray):
                continue
            for value in np.unique(sample.label[sample.label > 0]):
                places = np.flatnonzero(sample.label == value)
                if len(places) > _VOXELS_PER_CLASS:
                    places = np.random.default_rng(_SEED).choice(places, _VOXELS_PER_CLASS, replace=False)
                voxels = np.stack(np.unravel_index(places, sample.label.shape), axis=1).astype(np.int32)
                self._voxels.setdefault(int(value), {})[number] = voxels

    def __bool__(self) -> bool:
        return bool(self._voxels)

    def draw(self, rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
        """A case and one of its foreground voxels: every class equally often, then every case that shows it.

        A class that fills ten voxels of one case is thus seen as often as the largest.
        """
        by_case = self._voxels[int(rng.choice(sorted(self._voxels)))]
        number = int(rng.choice(sorted(by_case)))
        z, y, x = (int(value) for value in rng.choice(by_case[number]))
        return number, (z, y, x)
