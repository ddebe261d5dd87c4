"""Where each class lies, so that patches can be centred on rare ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_VOXELS_PER_CLASS = 10_000
_SEED = 0


def voxels_by_class(label: NDArray[np.int16]) -> dict[int, NDArray[np.int32]]:
    """(z, y, x) of the voxels of every foreground class, a fixed sample of at most 10 000 of each."""
    found = {}
    for value in np.unique(label[label > 0]):
        places = np.flatnonzero(label == value)
        if len(places) > _VOXELS_PER_CLASS:
            places = np.random.default_rng(_SEED).choice(places, _VOXELS_PER_CLASS, replace=False)
        found[int(value)] = np.stack(np.unravel_index(places, label.shape), axis=1).astype(np.int32)
    return found


class ForegroundIndex:
    """Voxels of every foreground class, by class and case."""

    def __init__(self, cases: Sequence[Mapping[int, NDArray[np.int32]]]) -> None:
        self._voxels: dict[int, dict[int, NDArray[np.int32]]] = {}
        for number, classes in enumerate(cases):
            for value, voxels in classes.items():
                self._voxels.setdefault(value, {})[number] = voxels

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
