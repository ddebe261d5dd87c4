"""The outline of a flat mask along the borders of its pixels.

Polygons that run along pixel borders hold exactly the pixels they were drawn from: a pixel belongs to the mask if and
only if its centre lies inside an odd number of them (the even-odd rule), so holes and islands in holes need no mark.
"""

from collections import defaultdict

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

Corner = tuple[int, int]


def trace(mask: Bool[np.ndarray, "columns rows"]) -> list[NDArray[np.float64]]:
    """Closed polygons around the pixels of a mask.

    Returns:
        corners (n, 2) of each polygon as (column, row), the first not repeated, only where it turns. Pixel centres lie
        on whole numbers, so corners lie on halves.
    """
    following = _borders(np.pad(np.asarray(mask, dtype=bool), 1))
    polygons = []
    while following:
        start = next(iter(following))
        loop, before, here = [start], start, _take(following, start, start)
        while here != start:
            loop.append(here)
            before, here = here, _take(following, here, before)
        polygons.append(_turns(np.array(loop, dtype=np.float64)) - 1.5)
    return polygons


def _borders(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """From each corner of a pixel border to the next one, the mask always on the same side."""
    following: dict[Corner, list[Corner]] = defaultdict(list)
    for axis, (a, b) in enumerate(((0, 1), (1, 0))):
        step = np.diff(mask.astype(np.int8), axis=axis)
        for sense in (1, -1):
            places = np.argwhere(step == sense)
            places[:, axis] += 1
            ends = places + np.array((a, b))
            first, last = (places, ends) if (sense == 1) == (axis == 0) else (ends, places)
            for start, end in zip(first.tolist(), last.tolist(), strict=True):
                following[start[0], start[1]].append((end[0], end[1]))
    return following


def _take(following: dict[Corner, list[Corner]], here: Corner, before: Corner) -> Corner:
    """Go on from a corner; where two pixels touch there only, turn, so that no polygon crosses itself."""
    ways = following[here]
    straight = (2 * here[0] - before[0], 2 * here[1] - before[1])
    way = next((way for way in ways if way not in (straight, before)), ways[0])
    ways.remove(way)
    if not ways:
        del following[here]
    return way


def _turns(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners where the direction changes."""
    into, out = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[(into != out).any(axis=1)]
