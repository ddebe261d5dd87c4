"""Outlines of a binary 2D mask along the borders of its pixels.

Polygons along pixel borders contain exactly the pixels they were made from: a pixel belongs to the mask if and only if
its centre is inside an odd number of polygons (even-odd rule), so holes and islands in holes need no special marking.
"""

from collections import defaultdict

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

Corner = tuple[int, int]


def trace_outlines(mask: Bool[np.ndarray, "columns rows"]) -> list[NDArray[np.float64]]:
    """Return closed polygons around the pixels of a mask.

    Returns:
        Corners (n, 2) of each polygon as (column, row), only where the direction changes, the first one not repeated.
        Pixel centres have integer coordinates, so corners have half-integer ones.
    """
    edges = _border_edges(np.pad(np.asarray(mask, dtype=bool), 1))
    polygons = []
    while edges:
        start = next(iter(edges))
        loop, previous, current = [start], start, _next_corner(edges, start, start)
        while current != start:
            loop.append(current)
            previous, current = current, _next_corner(edges, current, previous)
        polygons.append(_turning_points(np.array(loop, dtype=np.float64)) - 1.5)
    return polygons


def _border_edges(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return directed edges along pixel borders, with the mask always on the same side."""
    edges: dict[Corner, list[Corner]] = defaultdict(list)
    for axis, (a, b) in enumerate(((0, 1), (1, 0))):
        step = np.diff(mask.astype(np.int8), axis=axis)
        for sense in (1, -1):
            starts = np.argwhere(step == sense)
            starts[:, axis] += 1
            ends = starts + np.array((a, b))
            first, last = (starts, ends) if (sense == 1) == (axis == 0) else (ends, starts)
            for start, end in zip(first.tolist(), last.tolist(), strict=True):
                edges[start[0], start[1]].append((end[0], end[1]))
    return edges


def _next_corner(edges: dict[Corner, list[Corner]], current: Corner, previous: Corner) -> Corner:
    """Remove an edge from a corner and return its end; where two pixels touch at a corner, turn to avoid crossing."""
    ends = edges[current]
    straight = (2 * current[0] - previous[0], 2 * current[1] - previous[1])
    end = next((end for end in ends if end not in (straight, previous)), ends[0])
    ends.remove(end)
    if not ends:
        del edges[current]
    return end


def _turning_points(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners where the direction changes."""
    incoming, outgoing = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[(incoming != outgoing).any(axis=1)]
