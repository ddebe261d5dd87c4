"""Volumes unlike the others: a spacing or a range of intensities that the rest of the dataset does not have.

Robust: distances are counted in median absolute deviations, so that the odd ones cannot hide themselves, and below a
floor nothing is odd, so that a uniform dataset is not searched for dust. Iglewicz and Hoaglin, 1993, How to Detect and
Handle Outliers, propose 3.5 deviations; 5 are asked for here, since every finding costs a person a look. Where more
than a tenth of the cases lie far out, the dataset is of several kinds (MR of two scanners), and none of them is odd.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Finding
from dimlift.data.quality.check_case import Look

FEWEST = 5
"""Cases below which no case is odd."""

DEVIATIONS = 5.0

LARGEST_SHARE = 0.1
"""Of the cases, at least one: where more lie far out, none is odd."""

_SCALE = 1.4826
"""Median absolute deviations to standard deviations of a normal distribution."""

_SPACING_FLOOR = float(np.log(2))
_RANGE_FLOOR = float(np.log(4))
_LEVEL_FLOOR = 0.25
"""Of the usual range: how far a median must lie off to be odd. A CT stored without its offset of 1024 lies farther."""


def find_outliers(looks: Sequence[Look], channels: Sequence[str]) -> Iterator[Finding]:
    """Warnings about spacing and intensities; none for fewer than five cases."""
    spaced = [look for look in looks if look.spacing is not None]
    if len(spaced) >= FEWEST:
        yield from _spacings(spaced)
    for channel, name in enumerate(channels):
        measured = [look for look in looks if len(look.levels) > channel]
        if len(measured) >= FEWEST:
            yield from _intensities(measured, channel, name)


def _spacings(looks: Sequence[Look]) -> Iterator[Finding]:
    spacings = np.array([look.spacing for look in looks])
    odd = _few(np.any(_far(np.log(spacings), _SPACING_FLOOR), axis=1))
    usual = _sizes(np.median(spacings, axis=0))
    for index in odd:
        found = f"has a spacing of {_sizes(spacings[index])} mm (z, y, x); usual in this dataset is {usual}"
        remedy = "check that its header tells the true size of its voxels"
        yield Finding(str(looks[index].case.images[0]), "warning", found, remedy)


def _intensities(looks: Sequence[Look], channel: int, name: str) -> Iterator[Finding]:
    levels = np.array([look.levels[channel] for look in looks])
    ranges = levels[:, 2] - levels[:, 0]
    wide = np.log(np.maximum(ranges, 1e-12))
    usual = float(np.median(ranges))
    far = _far(wide, _RANGE_FLOOR) | _far(levels[:, 1], _LEVEL_FLOOR * usual)
    low, middle, high = np.median(levels, axis=0)
    for index in _few(far & (ranges > 0)):
        mine, images = levels[index], looks[index].case.images
        found = (
            f"has {name} intensities of {mine[0]:.4g} to {mine[2]:.4g} (median {mine[1]:.4g}); "
            f"usual in this dataset is {low:.4g} to {high:.4g} (median {middle:.4g})"
        )
        remedy = "check that it is the right sequence, and that its intensities were not rescaled on export"
        yield Finding(str(images[min(channel, len(images) - 1)]), "warning", found, remedy)


def _far(values: NDArray[np.float64], floor: float) -> NDArray[np.bool_]:
    """Which values lie far from the median of their column."""
    off = np.abs(values - np.median(values, axis=0))
    return off > np.maximum(floor, DEVIATIONS * _SCALE * np.median(off, axis=0))


def _few(far: NDArray[np.bool_]) -> list[int]:
    """The cases that lie far out, or none if they are many."""
    odd: list[int] = np.flatnonzero(far).tolist()
    return odd if len(odd) <= max(1, LARGEST_SHARE * len(far)) else []


def _sizes(spacing: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)
