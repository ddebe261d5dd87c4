"""Volumes turned upright and cut into slices, the way pictures of them are shown."""

import nibabel
import numpy as np
from jaxtyping import Float, Int, UInt8

from dimlift.data.volume import Volume, voxel_sizes

AXES = ("sagittal", "coronal", "axial")

LABEL_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
"""Okabe and Ito's colours, which people who confuse red and green can tell apart."""


def colour_of(value: int) -> tuple[int, int, int]:
    """Red, green and blue of a label."""
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def upright(volume: Volume) -> Volume:
    """Axes turned to run right, anterior, superior; the first channel where there are several."""
    array = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
    turn = nibabel.io_orientation(volume.affine)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(turn, array.shape)
    return Volume(nibabel.apply_orientation(array, turn), affine, volume.path)


def whole_numbers(labels: Volume) -> Int[np.ndarray, "i j k"]:
    """A label map as integers."""
    return np.rint(labels.array).astype(int)


def busiest_slice(truth: Volume) -> tuple[int, int]:
    """Axis with the thickest slices (axial if all are alike), and its slice with most foreground."""
    sizes = voxel_sizes(truth.affine)
    axis = 2 if np.isclose(sizes[2], sizes.max(), rtol=0.01) else int(sizes.argmax())
    others = tuple(other for other in range(3) if other != axis)
    return axis, int((truth.array > 0).sum(axis=others).argmax())


def cut(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice whose rows run downwards from anterior or superior, columns from left to right of the person."""
    return np.rot90(array.take(index, axis=axis))


def picture_size(volume: Volume, axis: int, longest: int) -> tuple[int, int]:
    """(rows, columns) of a picture of a slice, in the proportions of millimetres, `longest` pixels on its long side."""
    rows, columns = np.delete(voxel_sizes(volume.affine) * volume.array.shape, axis)[::-1]
    scale = longest / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def greys(flat: np.ndarray, low: float, high: float) -> Float[np.ndarray, "..."]:
    """Intensities from `low` to `high` as 0 to 255; what is not a number as black."""
    return np.clip((np.nan_to_num(flat.astype(float)) - low) / max(high - low, 1e-12), 0, 1) * 255


def nearest(flat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A slice of labels in another size: every pixel takes the label at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, flat.shape, strict=True)
    )
    return flat[np.ix_(rows, columns)]


def palette(labels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Labels as places in `LABEL_COLOURS`, counted from 1; 0 where there is none."""
    return np.where(labels > 0, (labels - 1) % len(LABEL_COLOURS) + 1, 0).astype(np.uint8)
