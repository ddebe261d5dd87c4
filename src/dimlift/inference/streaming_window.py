"""Sliding windows over a volume, row by row along depth; what no later window overlaps is returned at once.

Memory does not grow with the depth of the volume: it holds the sums of one row of windows that the next row adds to,
and of one strip of windows within a row. Weights and the order of additions are those of MONAI's
`sliding_window_inference`, so the results are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class WindowRow:
    """Windows that start at one depth.

    Attributes:
        read: depths at the input of the network.
        write: depths whose logits are used.
    """

    read: slice
    write: slice


class OutputTile(NamedTuple):
    """A finished part of the volume, over its full width."""

    depth: slice
    height: slice
    logits: Float[Tensor, "classes d h width"]


PredictFn = Callable[[WindowRow, int, Sequence[int]], Float[Tensor, "windows classes d h w"]]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of the windows along one axis; the last window ends where the axis does."""
    step = max(1, int(window * (1 - overlap))) if size > window else window
    return [min(start, size - window) for start in range(0, size - window + step, step)]


def overlapping_rows(depth: int, window: int, overlap: float) -> list[WindowRow]:
    """Return overlapping rows of windows whose input and output depths are the same."""
    depths = [slice(start, start + window) for start in window_starts(depth, window, overlap)]
    return [WindowRow(each, each) for each in depths]


def adjoining_rows(depth: int, slices: int, margin: int) -> list[WindowRow]:
    """Return rows that write `slices` depths each without overlap, and read `margin` more on either side."""
    written = [slice(first, min(first + slices, depth)) for first in range(0, depth, slices)]
    return [WindowRow(slice(max(0, w.start - margin), min(depth, w.stop + margin)), w) for w in written]


def stream_windows(
    predict_fn: PredictFn,
    size: tuple[int, int, int],
    rows: Sequence[WindowRow],
    window: tuple[int, int],
    overlap: float,
    batch_size: int,
) -> Iterator[OutputTile]:
    """Blend the logits of all windows, weighted by a Gaussian around the centre of each.

    Args:
        predict_fn: returns the logits of windows of a row, given their first row of pixels and their first columns.
        size: (depth, height, width) of the volume, no axis shorter than its window.
        rows: in the order of depth, without a gap.
        window: (height, width).
        batch_size: windows passed to `predict_fn` together.

    Yields:
        tiles that cover every voxel once.
    """
    depth, height, width = size
    tops, lefts = (window_starts(n, w, overlap) for n, w in zip(size[1:], window, strict=True))
    flat = any(row.read != row.write for row in rows)  # such rows do not overlap
    carried: Tensor | None = None
    held = 0
    for number, row in enumerate(rows):
        first, last = row.write.start, row.write.stop
        following = rows[number + 1].write.start if number + 1 < len(rows) else depth
        done, kept = following - first, last - following
        weight = _weight((last - first, *window), flat)
        strip: Tensor | None = None
        for index, top in enumerate(tops):
            bottom = tops[index + 1] if index + 1 < len(tops) else height
            for begin in range(0, len(lefts), batch_size):
                some = lefts[begin : begin + batch_size]
                logits = predict_fn(row, top, some)
                if strip is None:  # the number of classes is known only now
                    strip = logits.new_zeros(logits.shape[1] + 1, last - first, window[0], width)
                    _load_sums(strip, carried, held, slice(0, window[0]), 0)
                for left, found in zip(some, logits, strict=True):
                    part = strip[..., left : left + window[1]]
                    part[:-1] += found * weight
                    part[-1] += weight
            if strip is None:
                raise ValueError("no window along the width")
            ready = bottom - top
            yield OutputTile(
                slice(first, following), slice(top, bottom), strip[:-1, :done, :ready] / strip[-1:, :done, :ready]
            )
            if kept:
                if carried is None:
                    most = max(a.write.stop - b.write.start for a, b in pairwise(rows))
                    carried = strip.new_zeros(len(strip), most, height, width)
                carried[:, :kept, top:bottom] = strip[:, done:, :ready]
            if bottom < height:
                stays = window[0] - ready
                strip[:, :, :stays] = strip[:, :, ready:].clone()
                strip[:, :, stays:] = 0
                _load_sums(strip, carried, held, slice(top + window[0], bottom + window[0]), stays)
        held = kept


def _load_sums(strip: Tensor, carried: Tensor | None, held: int, rows: slice, start: int) -> None:
    """Copy the sums of the row before to where the next windows add to them."""
    if carried is not None and held:
        strip[:, :held, start : start + rows.stop - rows.start] = carried[:, :held, rows]


def _weight(size: tuple[int, int, int], flat: bool) -> Float[Tensor, "d h w"]:
    """Return MONAI's Gaussian; with `flat` the same weight at every depth."""
    from monai.data.utils import compute_importance_map

    if flat:
        return compute_importance_map(size[1:], mode="gaussian").expand(size)
    return compute_importance_map(size, mode="gaussian")
