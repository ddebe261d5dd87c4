"""Volumes with an unusual spacing or intensity range for their dataset.

Distances are measured in median absolute deviations, which outliers do not inflate, with a lower bound, so that uniform
datasets yield no spurious outliers. Iglewicz and Hoaglin, 1993, How to Detect and Handle Outliers, propose a threshold
of 3.5 deviations; 5 is used here because a person checks every warning. If more than a tenth of the cases are outliers,
the dataset has several kinds of volumes (MR of two scanners), and none is reported.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.data.quality.check_case import CaseReport

MIN_CASES = 5
"""Number of cases below which there are no outliers."""

MAX_DEVIATIONS = 5.0

MAX_OUTLIER_FRACTION = 0.1
"""Largest fraction of cases (at least one case) that are reported as outliers."""

_MAD_TO_STD = 1.4826
"""Ratio of standard deviation to median absolute deviation for a normal distribution."""

_MIN_LOG_SPACING = float(np.log(2))
_MIN_LOG_RANGE = float(np.log(4))
_MIN_MEDIAN_SHIFT = 0.25
"""Lower bound for the shift of a median, in usual ranges; a CT stored without its offset of 1024 exceeds it."""


def find_outliers(reports: Sequence[CaseReport], channels: Sequence[str]) -> Iterator[Issue]:
    """Yield warnings about spacing and intensities; none for fewer than five cases."""
    with_spacing = [report for report in reports if report.spacing is not None]
    if len(with_spacing) >= MIN_CASES:
        yield from _spacing_outliers(with_spacing)
    for channel, name in enumerate(channels):
        measured = [report for report in reports if len(report.percentiles) > channel]
        if len(measured) >= MIN_CASES:
            yield from _intensity_outliers(measured, channel, name)


def _spacing_outliers(reports: Sequence[CaseReport]) -> Iterator[Issue]:
    spacings = np.array([report.spacing for report in reports])
    usual = _format_spacing(np.median(spacings, axis=0))
    for index in _indices_if_few(np.any(_is_far(np.log(spacings), _MIN_LOG_SPACING), axis=1)):
        message = f"has a spacing of {_format_spacing(spacings[index])} mm (z, y, x); the dataset median is {usual}"
        fix = "check that its header states the true voxel size"
        yield Issue(str(reports[index].case.images[0]), "warning", message, fix)


def _intensity_outliers(reports: Sequence[CaseReport], channel: int, name: str) -> Iterator[Issue]:
    percentiles = np.array([report.percentiles[channel] for report in reports])
    ranges = percentiles[:, 2] - percentiles[:, 0]
    log_ranges = np.log(np.maximum(ranges, 1e-12))
    usual = float(np.median(ranges))
    far = _is_far(log_ranges, _MIN_LOG_RANGE) | _is_far(percentiles[:, 1], _MIN_MEDIAN_SHIFT * usual)
    low, middle, high = np.median(percentiles, axis=0)
    for index in _indices_if_few(far & (ranges > 0)):
        own, images = percentiles[index], reports[index].case.images
        message = (
            f"has {name} intensities of {own[0]:.4g} to {own[2]:.4g} (median {own[1]:.4g}); "
            f"usual in this dataset is {low:.4g} to {high:.4g} (median {middle:.4g})"
        )
        fix = "check that it is the right sequence, and that its intensities were not rescaled on export"
        yield Issue(str(images[min(channel, len(images) - 1)]), "warning", message, fix)


def _is_far(values: NDArray[np.float64], minimum: float) -> NDArray[np.bool_]:
    """Return which values are far from the median of their column."""
    distance = np.abs(values - np.median(values, axis=0))
    return distance > np.maximum(minimum, MAX_DEVIATIONS * _MAD_TO_STD * np.median(distance, axis=0))


def _indices_if_few(far: NDArray[np.bool_]) -> list[int]:
    """Return the indices of outliers, or none if there are many."""
    indices: list[int] = np.flatnonzero(far).tolist()
    return indices if len(indices) <= max(1, MAX_OUTLIER_FRACTION * len(far)) else []


def _format_spacing(spacing: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)
