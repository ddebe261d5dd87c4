"""Resample volumes: the outer faces stay in place, the voxels get another size.

Voxel centres are at +0.5, so output voxel o samples the input at (o + 0.5) * ratio - 0.5. Edge values are repeated.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimlift.data.chunks import CHUNK_VOXELS, depth_chunks

Shape = tuple[int, int, int]

ANISOTROPY = 3.0
"""Axes this many times coarser than the finest one are interpolated linearly, because cubic splines overshoot there."""

SPLINE_REACH = 16
"""Slices beyond which the weights of a cubic spline, 0.27^16, are below float32 precision."""


def resampled_shape(shape: Shape, spacing: tuple[float, float, float], target: tuple[float, float, float]) -> Shape:
    """Return the voxel counts that cover the same extent at another spacing, at least one per axis."""
    depth, height, width = (
        max(1, round(size * old / new)) for size, old, new in zip(shape, spacing, target, strict=True)
    )
    return depth, height, width


def resample_image(
    image: NDArray[np.float32], shape: Shape, spacing: tuple[float, float, float] | None = None
) -> NDArray[np.float32]:
    """Interpolate to another shape: cubic within slices, linear across thick ones, clipped to the input range.

    Args:
        image: (channels, D, H, W).
        shape: (D, H, W) of the result.
        spacing: spacing of the input; None for isotropic.
    """
    if image.shape[1:] == shape:
        return image
    thick = [size > ANISOTROPY * min(spacing) for size in spacing] if spacing else [False] * 3
    fine: Shape = tuple(
        old if is_thick else new for old, new, is_thick in zip(image.shape[1:], shape, thick, strict=True)
    )  # type: ignore[assignment]
    result = np.empty((len(image), *shape), np.float32)
    for channel, out in zip(image, result, strict=True):
        low, high = channel.min(), channel.max()
        for part in _output_chunks(channel.shape, shape):
            source, first = _source_slices(part, channel.shape[0], shape[0], SPLINE_REACH)
            cubic: Shape = (source.stop - source.start if thick[0] else part.stop - part.start, *fine[1:])
            piece = _zoom(channel[source], channel.shape, fine, cubic, 3, 0.0 if thick[0] else first)
            size = (part.stop - part.start, *shape[1:])
            piece = _zoom(piece, fine, shape, size, 1, first if thick[0] else 0.0)
            np.clip(piece, low, high, out=out[part])
    return result


def resample_labels(labels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Resample a label map: the membership of each class is interpolated linearly, and the largest one is chosen.

    This gives smooth borders and no new values. Every class is interpolated within its bounding box, so many small
    organs cost little.
    """
    if labels.shape == shape:
        return labels
    result = np.empty(shape, labels.dtype)
    for part in _output_chunks(labels.shape, shape):
        source, first = _source_slices(part, labels.shape[0], shape[0], 2)
        result[part] = _largest_membership(labels[source], labels.shape, shape, part.stop - part.start, first)
    return result


def _largest_membership(
    labels: NDArray[Any], old: tuple[int, ...], new: Shape, depth: int, first: float
) -> NDArray[Any]:
    """Return the class with the largest membership on `depth` output slices, the first at index `first` of `labels`."""
    values = np.unique(labels)
    shape: Shape = (depth, *new[1:])
    result = np.full(shape, values[0], dtype=labels.dtype)
    if len(values) == 1:
        return result
    best = np.zeros(shape, dtype=np.float32)
    ratio = [before / after for before, after in zip(old, new, strict=True)]
    start = [first, *(0.5 * step - 0.5 for step in ratio[1:])]
    lowest = int(values[0])
    boxes = ndimage.find_objects(labels.astype(np.int32) - lowest + 1)
    for value in values:
        target, source = _class_boxes(boxes[int(value) - lowest], ratio, start, labels.shape, shape)
        member = (labels[source] == value).astype(np.float32)
        offset = [
            begin + to.start * r - box.start for begin, to, r, box in zip(start, target, ratio, source, strict=True)
        ]
        out_shape = tuple(to.stop - to.start for to in target)
        membership = ndimage.affine_transform(member, ratio, offset, output_shape=out_shape, order=1, mode="nearest")
        larger = membership > best[target]
        best[target][larger] = membership[larger]
        result[target][larger] = value
    return result


def _zoom(
    piece: NDArray[np.float32], old: tuple[int, ...], new: tuple[int, ...], shape: Shape, order: int, first: float
) -> NDArray[np.float32]:
    """Interpolate a piece of a volume of shape `old` that is resampled to `new`, from index `first` of its depth."""
    ratio = [1.0 if before == after else before / after for before, after in zip(old, new, strict=True)]
    offset = [first, *(0.5 * step - 0.5 for step in ratio[1:])]
    if piece.shape == shape and ratio == [1.0] * 3 and not first:
        return piece
    return ndimage.affine_transform(piece, ratio, offset, output_shape=shape, order=order, mode="nearest")


def _output_chunks(old: tuple[int, ...], new: Shape) -> Iterator[slice]:
    """Yield output slices in chunks that, like their input, are not much larger than `CHUNK_VOXELS`."""
    largest = [max(new[0], 1), *(max(pair) for pair in zip(old[1:], new[1:], strict=True))]
    return depth_chunks(largest, int(CHUNK_VOXELS / max(1.0, old[0] / new[0])))


def _source_slices(part: slice, old: int, new: int, reach: int) -> tuple[slice, float]:
    """Return the input slices that output slices depend on, and the index among them of the first output slice."""
    ratio = old / new
    first = (part.start + 0.5) * ratio - 0.5
    last = (part.stop - 0.5) * ratio - 0.5
    source = slice(max(0, int(np.floor(first)) - reach), min(old, int(np.ceil(last)) + reach + 1))
    return source, first - source.start


def _class_boxes(
    box: tuple[slice, ...], ratio: list[float], start: list[float], old: tuple[int, ...], new: Shape
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the box of a class in the output, and the input box around it with a margin of two voxels.

    Args:
        box: bounding box in the input.
        ratio: input voxels per output voxel.
        start: input index of the first output voxel along each axis.
        old: shape of the input.
        new: shape of the output.
    """
    target, source = [], []
    for part, step, begin, size_old, size_new in zip(box, ratio, start, old, new, strict=True):
        low = max(0, int(np.floor((part.start - 1 - begin) / step)) - 1)
        high = min(size_new, int(np.ceil((part.stop + 1 - begin) / step)) + 1)
        low = min(low, max(0, high - 1))
        target.append(slice(low, high))
        first = int(np.floor(begin + low * step)) - 1
        last = int(np.ceil(begin + (high - 1) * step)) + 2
        source.append(slice(max(0, first), min(size_old, last)))
    return tuple(target), tuple(source)
