"""Windows over a volume, one row of depth after the other: what no later window touches is handed out at once.

What is held at any time does not depend on how deep the volume is: the sums of one row of windows that the next row
will add to, and of one strip of windows within a row. Weights and the order of additions are those of MONAI's
`sliding_window_inference`, so the numbers are, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """Windows that begin at one depth.

    Attributes:
        read: depths the network is shown.
        answer: depths whose answer is used.
    """

    read: slice
    answer: slice


class Tile(NamedTuple):
    """A finished part of the volume, as wide as it is."""

    depth: slice
    height: slice
    logits: Float[Tensor, "classes d h width"]


Ask = Callable[[Row, int, Sequence[int]], Float[Tensor, "windows classes d h w"]]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis; the last window ends where the axis does."""
    step = max(1, int(window * (1 - overlap))) if size > window else window
    return [min(start, size - window) for start in range(0, size - window + step, step)]


def overlapping_rows(depth: int, window: int, overlap: float) -> list[Row]:
    """Rows of windows that are shown what they answer for."""
    places = [slice(start, start + window) for start in window_starts(depth, window, overlap)]
    return [Row(place, place) for place in places]


def adjoining_rows(depth: int, slices: int, margin: int) -> list[Row]:
    """Rows that answer for `slices` depths each, and are shown `margin` more on either side where there are any."""
    answers = [slice(first, min(first + slices, depth)) for first in range(0, depth, slices)]
    return [Row(slice(max(0, a.start - margin), min(depth, a.stop + margin)), a) for a in answers]


def sweep(
    ask: Ask,
    size: tuple[int, int, int],
    rows: Sequence[Row],
    window: tuple[int, int],
    overlap: float,
    at_once: int,
) -> Iterator[Tile]:
    """Blend the answers of all windows, weighted by a Gaussian around the middle of each.

    Args:
        ask: logits of windows of a row, given their first row of pixels and the first columns.
        size: (depth, height, width) of the volume, no axis shorter than its window.
        rows: in the order of depth, without a gap.
        window: (height, width).
        at_once: windows handed to `ask` together.

    Yields:
        tiles that cover every voxel once.
    """
    depth, height, width = size
    tops, lefts = (window_starts(n, w, overlap) for n, w in zip(size[1:], window, strict=True))
    flat = any(row.read != row.answer for row in rows)  # such rows do not overlap
    carried: Tensor | None = None
    held = 0
    for number, row in enumerate(rows):
        first, last = row.answer.start, row.answer.stop
        following = rows[number + 1].answer.start if number + 1 < len(rows) else depth
        done, kept = following - first, last - following
        weight = _weight((last - first, *window), flat)
        strip: Tensor | None = None
        for place, top in enumerate(tops):
            bottom = tops[place + 1] if place + 1 < len(tops) else height
            for begin in range(0, len(lefts), at_once):
                some = lefts[begin : begin + at_once]
                logits = ask(row, top, some)
                if strip is None:  # only now the number of classes is known
                    strip = logits.new_zeros(logits.shape[1] + 1, last - first, window[0], width)
                    _load(strip, carried, held, slice(0, window[0]), 0)
                for left, answer in zip(some, logits, strict=True):
                    part = strip[..., left : left + window[1]]
                    part[:-1] += answer * weight
                    part[-1] += weight
            if strip is None:
                raise ValueError("no window along the width")
            ready = bottom - top
            yield Tile(
                slice(first, following), slice(top, bottom), strip[:-1, :done, :ready] / strip[-1:, :done, :ready]
            )
            if kept:
                if carried is None:
                    most = max(a.answer.stop - b.answer.start for a, b in pairwise(rows))
                    carried = strip.new_zeros(len(strip), most, height, width)
                carried[:, :kept, top:bottom] = strip[:, done:, :ready]
            if bottom < height:
                stays = window[0] - ready
                strip[:, :, :stays] = strip[:, :, ready:].clone()
                strip[:, :, stays:] = 0
                _load(strip, carried, held, slice(top + window[0], bottom + window[0]), stays)
        held = kept


def _load(strip: Tensor, carried: Tensor | None, held: int, rows: slice, at: int) -> None:
    """Put the sums of the row before where the next windows will add to them."""
    if carried is not None and held:
        strip[:, :held, at : at + rows.stop - rows.start] = carried[:, :held, rows]


def _weight(size: tuple[int, int, int], flat: bool) -> Float[Tensor, "d h w"]:
    """MONAI's Gaussian; `flat` gives every depth the same."""
    from monai.data.utils import compute_importance_map

    if flat:
        return compute_importance_map(size[1:], mode="gaussian").expand(size)
    return compute_importance_map(size, mode="gaussian")
