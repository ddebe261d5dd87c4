"""What voxels may hold: images are finite numbers, labels are whole numbers of a known list."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.data.chunks import slabs
from dimlift.data.issue import Finding
from dimlift.data.volume import Volume
from dimlift.errors import UnknownName

NanPolicy = Literal["error", "replace", "mask"]
"""What to do with NaN and infinite voxels: refuse the file; put the lowest finite value there; or that, and also
take these voxels out of training and scoring."""

INTEGER_TOLERANCE = 1e-3
"""Labels saved through an intensity scale come back as 1.0000000196: within this distance they are whole numbers."""

_COUNTABLE = 1 << 16

_log = logging.getLogger(__name__)


def require_nan_policy(policy: str) -> None:
    """Raises: UnknownName if there is no such policy."""
    if policy not in get_args(NanPolicy):
        raise UnknownName("nan_policy", policy, get_args(NanPolicy))


def count_non_finite(array: NDArray[Any]) -> int:
    """How many voxels are NaN or infinite."""
    if array.dtype.kind != "f":
        return 0
    return int(array.size - sum(np.count_nonzero(np.isfinite(array[part])) for part in slabs(array.shape)))


def settle_non_finite(
    array: NDArray[np.float32], path: Path, policy: NanPolicy = "error"
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Apply the policy to an image.

    Returns:
        the image, finite everywhere, and where it was not (None if it was everywhere).

    Raises:
        DataError: if the policy is "error" and there are such voxels, or if there is nothing else.
    """
    require_nan_policy(policy)
    count = count_non_finite(array)
    if not count:
        return array, None
    if policy == "error" or count == array.size:
        raise non_finite_finding(path, count, array.size).as_error()
    bad = ~np.isfinite(array)
    lowest = array[~bad].min()
    _log.warning("%s: %d NaN or infinite voxels set to %g (policy %s)", path, count, lowest, policy)
    return np.where(bad, lowest, array), bad


def non_finite_finding(path: Path, count: int, size: int) -> Finding:
    """The finding for NaN and infinite voxels."""
    if count == size:
        return Finding(str(path), "error", "has no finite voxel at all", "export it again from its source")
    remedy = (
        "repair the file, or set nan_policy to 'replace' (lowest finite value) or 'mask' (and ignore them in training)"
    )
    return Finding(str(path), "error", f"has {count} NaN or infinite voxels of {size}", remedy)


def read_integers(volume: Volume) -> NDArray[np.int32]:
    """The whole numbers of a label volume, (i, j, k).

    Raises:
        DataError: if a voxel is no whole number, or there are several channels.
    """
    array = volume.array
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        found = f"is a label of {array.shape[3]} channels; one class number per voxel is wanted"
        raise Finding(str(volume.path), "error", found, "save one label map (argmax over the channels)").as_error()
    if array.dtype.kind in "iub":
        _require_int32(volume.path, array)
        return array.astype(np.int32)
    if count := count_non_finite(array):
        found = f"is a label with {count} NaN or infinite voxels"
        raise Finding(str(volume.path), "error", found, "set them to a class, or to the ignore label").as_error()
    whole = np.rint(array)
    off = np.abs(array - whole)
    if off.max(initial=0) > INTEGER_TOLERANCE:
        odd = np.unique(array[off > INTEGER_TOLERANCE])[:5]
        found = f"holds values that are no whole numbers ({', '.join(f'{value:g}' for value in odd)})"
        remedy = "is it a probability map or resampled with interpolation? save class numbers"
        raise Finding(str(volume.path), "error", found, remedy).as_error()
    _require_int32(volume.path, whole)
    return whole.astype(np.int32)


def _require_int32(path: Path, array: NDArray[Any]) -> None:
    low, high = array.min(initial=0), array.max(initial=0)
    if low < -(2**31) or high >= 2**31:
        found = f"holds numbers from {low} to {high}, too large for classes"
        raise Finding(str(path), "error", found, "save class numbers").as_error()


def count_labels(array: NDArray[np.int32]) -> dict[int, int]:
    """Each value of a label map, in order, and how many voxels have it."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if high - low > _COUNTABLE:
        values, counts = np.unique(array, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    counts = np.bincount(array.ravel(order="K") - low)  # no sorting: ten times as fast
    return {value + low: int(counts[value]) for value in np.flatnonzero(counts).tolist()}


def require_listed(path: Path, array: NDArray[np.int32], allowed: Collection[int]) -> None:
    """Stop if a label map holds a value outside the list.

    Raises:
        DataError: naming the values and how many voxels have them.
    """
    strange = [(value, count) for value, count in count_labels(array).items() if value not in allowed]
    if strange:
        shown = ", ".join(f"{value} in {count} voxels" for value, count in strange[:5])
        found = f"holds labels outside the list {sorted(allowed)}: {shown}{', ...' if len(strange) > 5 else ''}"
        raise Finding(
            str(path), "error", found, "add them to the labels of dataset.json, or correct the mask"
        ).as_error()
