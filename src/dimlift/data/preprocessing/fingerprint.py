"""What preprocessing learns from the training cases: their grids, and samples of foreground intensities for CT."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case
from dimlift.data.io.readers import read_file, read_grid
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.voxel_checks import read_integers
from dimlift.errors import DataError

_VOXELS_PER_CASE = 10_000
_SEED = 0


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        affines: one per case.
        foreground: channel index to intensities inside the masks, one array per case.
    """

    affines: list[NDArray[np.float64]]
    foreground: dict[int, list[NDArray[Any]]]


def survey(cases: Sequence[Case], intensities: Sequence[int] = (), resample_labels: bool = False) -> Survey:
    """Look at the cases once; without intensities only at their headers.

    Args:
        intensities: channels whose foreground intensities are wanted.
        resample_labels: take masks on another grid than their image.
    """
    affines = []
    foreground: dict[int, list[NDArray[Any]]] = {index: [] for index in intensities}
    for case in cases:
        there = next((path for path in case.images if path.exists()), case.images[0])
        if not intensities:
            affines.append(read_grid(there).affine)
            continue
        first = read_file(there)
        affines.append(first.affine)
        inside = None
        if isinstance(case.label, Path):
            inside = read_integers(read_mask(case.label, first, resample_labels)) > 0
        for index in intensities:
            if first.array.ndim == 4 and len(case.images) == 1:
                voxels = first.array[..., index]
            elif not case.images[index].exists() and len(case.images) > 1:
                continue  # a missing channel; where none may be, reading the case says so
            else:
                voxels = first.array if case.images[index] == there else read_file(case.images[index]).array
            foreground[index].append(_some(voxels if inside is None else voxels[inside]))
    return Survey(affines, foreground)


def target_spacing(
    wanted: Literal["native", "median"] | Sequence[float], own: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """The spacing to resample to, (depth, height, width) in millimetres, or None for no resampling.

    Raises:
        DataError: if it is neither "native" nor "median" nor three positive numbers.
    """
    if wanted == "native":
        return None
    if wanted == "median":
        depth, height, width = (float(value) for value in np.median(np.asarray(own), axis=0))
        return depth, height, width
    if isinstance(wanted, str) or len(wanted) != 3 or not all(float(value) > 0 for value in wanted):
        raise DataError(
            f"spacing is {wanted!r}; "
            "'native', 'median' or three positive numbers (depth, height, width) in mm are wanted"
        )
    return float(wanted[0]), float(wanted[1]), float(wanted[2])


def _some(voxels: NDArray[Any]) -> NDArray[Any]:
    """At most a fixed number of finite voxels, always the same ones."""
    flat = voxels.ravel()
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    if flat.size <= _VOXELS_PER_CASE:
        return flat
    return np.random.default_rng(_SEED).choice(flat, _VOXELS_PER_CASE, replace=False)
