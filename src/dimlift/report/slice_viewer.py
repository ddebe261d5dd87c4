"""What the slice viewer of the page scrolls through: image, truth and predictions of cases, small enough to be inlined.

A page can be mailed, so it stays below about 15 MB. The pictures of the viewer take `BUDGET` of them: cases are added
whole, with every arm, in the order of `ranked_cases`, until the next one would not fit. Of thick stacks `SLICES` slices
evenly spaced are kept, of large ones `SIDE` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.io.readers import read_file
from dimlift.data.volume import Volume
from dimlift.errors import DimliftError
from dimlift.records.record import Record
from dimlift.records.study import Study
from dimlift.report.case_selection import ranked_cases, score_of_case, shown_rows, stored_prediction
from dimlift.report.slice_images import (
    AXES,
    busiest_slice,
    cut,
    greys,
    nearest,
    palette,
    picture_size,
    upright,
    whole_numbers,
)  # fmt: skip
from dimlift.report.sprite_sheets import columns_of, grey_sheet, label_sheet
from dimlift.report.summary_types import Row, Summary

SIDE, SLICES = 192, 48
BUDGET = 10 << 20
"""Characters of all pictures together."""

MOST_VOXELS = 2_000_000_000
"""Read for the viewer, images, truths and predictions together: about a minute's work."""


@dataclass(frozen=True)
class Viewer:
    """Content of the viewer.

    Attributes:
        cases: one JSON-ready mapping for each case: name, rank, axis, sheets, size of a slice, slice numbers, start.
        arms: name and title of every arm that can be looked at.
        left_out: number of further cases that did not fit.
    """

    cases: list[dict[str, Any]]
    arms: list[tuple[str, str]]
    left_out: int


def slice_viewer(folder: Path, study: Study, summary: Summary, records: Sequence[Record]) -> Viewer | None:
    """The cases that fit, or None where there is nothing to look at."""
    rows, wanted = shown_rows(summary), ranked_cases(study, summary, records)
    cases: list[dict[str, Any]] = []
    size = voxels = 0
    for case, rank in wanted:
        found = _case(folder, study, summary, records, rows, case, rank)
        if found is None:
            continue
        content, read = found
        size, voxels = size + _length(content), voxels + read
        if cases and (size > BUDGET or voxels > MOST_VOXELS):
            break
        cases.append(content)
    if not cases:
        return None
    return Viewer(cases, [(row.arm, row.title) for row in rows], len(wanted) - len(cases))


def _case(
    folder: Path, study: Study, summary: Summary, records: Sequence[Record], rows: Sequence[Row], case: str, rank: str
) -> tuple[dict[str, Any], int] | None:
    """One case and the number of voxels read for it; None where image or truth cannot be shown."""
    paths = study.cases[case]
    try:
        image, truth = upright(read_file(folder / paths.image)), upright(read_file(folder / (paths.truth or "")))
    except DimliftError:
        return None  # the page says so where it shows the case as a still picture
    if image.shape != truth.shape:
        return None
    axis, busiest = busiest_slice(truth)
    places = np.unique(np.linspace(0, image.shape[axis] - 1, min(SLICES, image.shape[axis])).round().astype(int))
    rows_columns = picture_size(image, axis, SIDE)

    def labels(volume: Volume) -> str:
        whole = palette(whole_numbers(volume))
        return label_sheet([nearest(cut(whole, axis, place), rows_columns) for place in places])

    predictions, voxels = {}, 2 * image.array.size
    for row in rows:
        found = stored_prediction(folder, records, row, case)
        if found is None:
            continue
        path, record = found
        try:
            volume = upright(read_file(path))
        except DimliftError:
            continue
        if volume.shape == image.shape:
            voxels += volume.array.size
            words = f"{score_of_case(summary, record, case)}, seed {record.seed}"
            predictions[row.arm] = {"sheet": labels(volume), "score": words}
    content = {
        "name": case,
        "rank": rank,
        "axis": AXES[axis],
        "height": rows_columns[0],
        "width": rows_columns[1],
        "columns": columns_of(len(places)),
        "slices": [int(place) + 1 for place in places],
        "of": int(image.shape[axis]),
        "start": int(np.abs(places - busiest).argmin()),
        "image": _intensities(image, axis, places, rows_columns),
        "truth": labels(truth),
        "predictions": predictions,
    }
    return content, voxels


def _intensities(image: Volume, axis: int, places: np.ndarray, size: tuple[int, int]) -> str:
    slices = [cut(image.array, axis, place) for place in places]
    sample = np.concatenate([np.nan_to_num(flat[::2, ::2].astype(float)).ravel() for flat in slices])
    low, high = np.percentile(sample, (0.5, 99.5))
    return grey_sheet([greys(flat, low, high) for flat in slices], size)


def _length(content: dict[str, Any]) -> int:
    sheets = [content["image"], content["truth"], *(found["sheet"] for found in content["predictions"].values())]
    return sum(map(len, sheets))
