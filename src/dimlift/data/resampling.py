"""Change the grid of a volume: its outer faces stay where they are, its voxels get another size.

Voxel centres lie at +0.5, so output voxel o samples the input at (o + 0.5) * ratio - 0.5. Edges repeat outwards.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, int, int]

THICK = 3.0
"""Axes this many times coarser than the finest one are interpolated linearly: cubic would ring across thick slices."""


def resampled_shape(shape: Shape, spacing: tuple[float, float, float], target: tuple[float, float, float]) -> Shape:
    """Voxel counts that cover the same extent at another spacing, at least one per axis."""
    depth, height, width = (
        max(1, round(size * old / new)) for size, old, new in zip(shape, spacing, target, strict=True)
    )
    return depth, height, width


def resample_image(
    image: NDArray[np.float32], shape: Shape, spacing: tuple[float, float, float] | None = None
) -> NDArray[np.float32]:
    """Interpolate (channels, D, H, W) to another shape: cubic within slices, linear across thick ones, no overshoot.

    Args:
        spacing: of the input; None counts it as isotropic.
    """
    if image.shape[1:] == shape:
        return image
    thick = [size > THICK * min(spacing) for size in spacing] if spacing else [False] * 3
    fine: Shape = tuple(
        old if is_thick else new for old, new, is_thick in zip(image.shape[1:], shape, thick, strict=True)
    )  # type: ignore[assignment]
    return np.stack([np.clip(_zoom(_zoom(one, fine, 3), shape, 1), one.min(), one.max()) for one in image])


def resample_labels(labels: NDArray[np.int16], shape: Shape) -> NDArray[np.int16]:
    """Each class's membership interpolated linearly, the largest wins: smooth borders, only values that were there.

    Every class is interpolated within its own bounding box, so many small organs cost little.
    """
    if labels.shape == shape:
        return labels
    values = np.unique(labels)
    if len(values) == 1:
        return np.full(shape, values[0], dtype=labels.dtype)
    best = np.zeros(shape, dtype=np.float32)
    result = np.full(shape, values[0], dtype=labels.dtype)
    ratio = [old / new for old, new in zip(labels.shape, shape, strict=True)]
    boxes = ndimage.find_objects(labels - values[0] + 1)
    for value in values:
        box = boxes[int(value) - int(values[0])]
        target, source = _boxes(box, ratio, labels.shape, shape)
        member = (labels[source] == value).astype(np.float32)
        offset = [(to.start + 0.5) * r - 0.5 - at.start for to, at, r in zip(target, source, ratio, strict=True)]
        out_shape = tuple(to.stop - to.start for to in target)
        share = ndimage.affine_transform(member, ratio, offset, output_shape=out_shape, order=1, mode="nearest")
        wins = share > best[target]
        best[target][wins] = share[wins]
        result[target][wins] = value
    return result


def _zoom(image: NDArray[np.float32], shape: Shape, order: int) -> NDArray[np.float32]:
    if image.shape == shape:
        return image
    ratio = [old / new for old, new in zip(image.shape, shape, strict=True)]
    offset = [0.5 * step - 0.5 for step in ratio]
    return ndimage.affine_transform(image, ratio, offset, output_shape=shape, order=order, mode="nearest")


def _boxes(
    box: tuple[slice, ...], ratio: list[float], old: tuple[int, ...], new: Shape
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a class lives in the output, and the input around it with two voxels to spare."""
    target, source = [], []
    for part, step, size_old, size_new in zip(box, ratio, old, new, strict=True):
        low = max(0, int(np.floor((part.start - 1) / step)) - 1)
        high = min(size_new, int(np.ceil((part.stop + 1) / step)) + 1)
        target.append(slice(low, high))
        first = int(np.floor((low + 0.5) * step - 0.5)) - 1
        last = int(np.ceil((high - 0.5) * step - 0.5)) + 2
        source.append(slice(max(0, first), min(size_old, last)))
    return tuple(target), tuple(source)
