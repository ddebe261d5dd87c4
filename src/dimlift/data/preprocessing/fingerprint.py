"""Fingerprint of the training cases: their grids, and samples of foreground intensities for CT."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case
from dimlift.data.io.readers import read_grid, read_volume
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.voxel_checks import integer_labels
from dimlift.errors import DataError

_MAX_VOXELS_PER_CASE = 10_000
_SEED = 0


@dataclass(frozen=True)
class DatasetFingerprint:
    """Properties of the training cases.

    Attributes:
        affines: one per case.
        foreground: channel index to sampled intensities inside the masks, one array per case.
    """

    affines: list[NDArray[np.float64]]
    foreground: dict[int, list[NDArray[Any]]]


def fingerprint_dataset(
    cases: Sequence[Case], intensity_channels: Sequence[int] = (), resample_labels: bool = False
) -> DatasetFingerprint:
    """Read the cases once; only their headers if no intensities are requested.

    Args:
        cases: the training cases.
        intensity_channels: channels whose foreground intensities are sampled.
        resample_labels: accept masks on another grid than their image.
    """
    affines = []
    foreground: dict[int, list[NDArray[Any]]] = {index: [] for index in intensity_channels}
    for case in cases:
        reference = next((path for path in case.images if path.exists()), case.images[0])
        if not intensity_channels:
            affines.append(read_grid(reference).affine)
            continue
        first = read_volume(reference)
        affines.append(first.affine)
        mask = None
        if isinstance(case.label, Path):
            mask = integer_labels(read_mask(case.label, first, resample_labels)) > 0
        for index in intensity_channels:
            if first.array.ndim == 4 and len(case.images) == 1:
                voxels = first.array[..., index]
            elif not case.images[index].exists() and len(case.images) > 1:
                continue  # a missing channel; reading the case raises if that is not allowed
            else:
                voxels = first.array if case.images[index] == reference else read_volume(case.images[index]).array
            foreground[index].append(_subsample(voxels if mask is None else voxels[mask]))
    return DatasetFingerprint(affines, foreground)


def target_spacing(
    setting: Literal["native", "median"] | Sequence[float], spacings: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """Return the spacing to resample to, (depth, height, width) in millimetres, or None for no resampling.

    Args:
        setting: "native", "median" or a spacing.
        spacings: spacing of each training case.

    Raises:
        DataError: if the setting is neither "native" nor "median" nor three positive numbers.
    """
    if setting == "native":
        return None
    if setting == "median":
        depth, height, width = (float(value) for value in np.median(np.asarray(spacings), axis=0))
        return depth, height, width
    if isinstance(setting, str) or len(setting) != 3 or not all(float(value) > 0 for value in setting):
        raise DataError(
            f"spacing is {setting!r}; "
            "'native', 'median' or three positive numbers (depth, height, width) in mm are expected"
        )
    return float(setting[0]), float(setting[1]), float(setting[2])


def _subsample(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return at most a fixed number of finite voxels; the same input gives the same voxels."""
    flat = voxels.ravel()
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    if flat.size <= _MAX_VOXELS_PER_CASE:
        return flat
    return np.random.default_rng(_SEED).choice(flat, _MAX_VOXELS_PER_CASE, replace=False)
