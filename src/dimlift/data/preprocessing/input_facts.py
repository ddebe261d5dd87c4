"""Measure a case before normalisation: intensities, spacing, extent, orientation; points and columns of a cloud."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from dimlift.data.chunks import depth_chunks
from dimlift.data.io.point_cloud import PointCloud
from dimlift.data.orientation import Axis, Reorientation, canonical_spacing
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.data.volume import Volume

PERCENTILES = (0.5, 99.5)
MAX_VOXELS = 30_000
"""Voxels of a channel that percentiles are computed from, evenly spaced over the volume."""


class FileFacts(NamedTuple):
    """What is measured in one file of a volume.

    Attributes:
        shape: of the first three axes of the file.
        affine: (4, 4).
        percentiles: of each channel in the file; None if it has no finite voxel.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    percentiles: list[tuple[float, float] | None]


def measure_volume(volume: Volume) -> FileFacts:
    """Return the grid and the percentiles of each channel of a file."""
    shape = volume.array.shape[:3]
    step = max(1, int(np.ceil((np.prod(shape) / MAX_VOXELS) ** (1 / 3))))
    voxels = volume.array[::step, ::step, ::step]
    channels = [voxels] if voxels.ndim == 3 else list(np.moveaxis(voxels, 3, 0))
    return FileFacts(shape, volume.affine, [_percentiles(channel) for channel in channels])


def volume_facts(files: Sequence[FileFacts | None], channels: Sequence[str], slice_axis: Axis) -> InputFacts:
    """Combine the files of a case.

    Args:
        files: in the order of the channels; None for a missing one.
        channels: names of the channels.
        slice_axis: the anatomical axis that becomes depth.
    """
    first = next(file for file in files if file is not None)
    percentiles = [each for file in files for each in ([None] if file is None else file.percentiles)]
    shape = Reorientation.from_affine(first.affine, slice_axis).forward(np.broadcast_to(np.False_, first.shape)).shape
    amounts: dict[str, float] = {}
    spacing = canonical_spacing(first.affine, slice_axis)
    for axis, millimetres, size in zip(("depth", "height", "width"), spacing, shape, strict=True):
        amounts[f"spacing along {axis} in mm"] = millimetres
        amounts[f"extent along {axis} in mm"] = millimetres * size
    return InputFacts(
        amounts,
        {name: values for name, values in zip(channels, percentiles, strict=False) if values is not None},
        "".join(aff2axcodes(first.affine)),
    )


def class_volumes(labels: NDArray[Any], class_indices: Mapping[str, int], spacing: Sequence[float]) -> dict[str, float]:
    """Return the volume of each class in millilitres.

    Args:
        labels: class indices, (D, H, W); negative where not annotated.
        class_indices: index of each class by name.
        spacing: (depth, height, width) in millimetres.
    """
    counts = np.zeros(max([0, *class_indices.values()]) + 1, np.int64)
    for part in depth_chunks(labels.shape):  # bincount copies what it counts to eight bytes each
        block = labels[part]
        counts += np.bincount(block[block > 0], minlength=len(counts))
    millilitres = float(np.prod(spacing)) / 1000
    return {name: float(counts[index]) * millilitres for name, index in class_indices.items()}


def point_cloud_facts(cloud: PointCloud) -> InputFacts:
    """Return number of points, extent along each axis in the unit of the file, and columns."""
    extent = np.ptp(np.asarray(cloud.points, np.float64), axis=0)
    amounts = {f"extent along {axis}": float(length) for axis, length in zip("xyz", extent, strict=True)}
    columns = [*cloud.extra, *([] if cloud.colours is None else ["colours"])]
    return InputFacts({"points": float(len(cloud.points)), **amounts}, columns=tuple(sorted(columns)))


def _percentiles(voxels: NDArray[Any]) -> tuple[float, float] | None:
    values = voxels[np.isfinite(voxels)]
    if not values.size:
        return None
    low, high = np.percentile(values.astype(np.float64), PERCENTILES)
    return float(low), float(high)
