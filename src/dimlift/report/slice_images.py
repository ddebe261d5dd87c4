"""Volumes in anatomical orientation, cut into slices for display."""

import nibabel
import numpy as np
from jaxtyping import Float, Int, UInt8

from dimlift.data.volume import Volume, voxel_sizes

AXES = ("sagittal", "coronal", "axial")

LABEL_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
"""Colours of Okabe and Ito, distinguishable with colour vision deficiency."""


def label_colour(value: int) -> tuple[int, int, int]:
    """Return red, green and blue of a label."""
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def to_ras(volume: Volume) -> Volume:
    """Reorient a volume so that its axes run right, anterior, superior; of several channels the first is returned."""
    array = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
    orientation = nibabel.io_orientation(volume.affine)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(orientation, array.shape)
    return Volume(nibabel.apply_orientation(array, orientation), affine, volume.path)


def to_integers(labels: Volume) -> Int[np.ndarray, "i j k"]:
    """Return a label map as integers."""
    return np.rint(labels.array).astype(int)


def largest_label_slice(truth: Volume) -> tuple[int, int]:
    """Return the axis with the thickest slices (axial if isotropic), and its slice with most foreground."""
    sizes = voxel_sizes(truth.affine)
    axis = 2 if np.isclose(sizes[2], sizes.max(), rtol=0.01) else int(sizes.argmax())
    others = tuple(other for other in range(3) if other != axis)
    return axis, int((truth.array > 0).sum(axis=others).argmax())


def take_slice(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a slice: rows start at anterior or superior, columns run from the subject's left to right."""
    return np.rot90(array.take(index, axis=axis))


def slice_size(volume: Volume, axis: int, longest: int) -> tuple[int, int]:
    """Return (rows, columns) of a slice image with square pixels and `longest` pixels on its long side."""
    rows, columns = np.delete(voxel_sizes(volume.affine) * volume.array.shape, axis)[::-1]
    scale = longest / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def to_grey(flat: np.ndarray, low: float, high: float) -> Float[np.ndarray, "..."]:
    """Map intensities from `low` to `high` to 0 to 255; NaN becomes 0."""
    return np.clip((np.nan_to_num(flat.astype(float)) - low) / max(high - low, 1e-12), 0, 1) * 255


def resize_labels(flat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a slice of labels with nearest-neighbour interpolation."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, flat.shape, strict=True)
    )
    return flat[np.ix_(rows, columns)]


def palette_indices(labels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Return labels as indices into `LABEL_COLOURS`, counted from 1; 0 for the background."""
    return np.where(labels > 0, (labels - 1) % len(LABEL_COLOURS) + 1, 0).astype(np.uint8)
