"""Content of the interactive slice viewer: image, truth and predictions of cases, small enough to be inlined.

A page stays below about 15 MB, so that it can be sent by e-mail. The images of the viewer use `BUDGET` of it: complete
cases, with every arm, are added in the order of `select_cases` until the next one does not fit. Thick stacks are
reduced to `NUM_SLICES` evenly spaced slices, large slices to `SIDE` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.io.readers import read_volume
from dimlift.data.volume import Volume
from dimlift.errors import DimliftError
from dimlift.records.record import RunRecord
from dimlift.records.study import Study
from dimlift.report.case_selection import find_prediction, format_case_score, select_cases, select_rows
from dimlift.report.slice_images import (
    AXES,
    largest_label_slice,
    palette_indices,
    resize_labels,
    slice_size,
    take_slice,
    to_grey,
    to_integers,
    to_ras,
)
from dimlift.report.sprite_sheets import grey_sprite_sheet, label_sprite_sheet, num_columns
from dimlift.report.summary_types import Summary, SummaryRow

SIDE, NUM_SLICES = 192, 48
BUDGET = 10 << 20
"""Maximum number of characters of all images together."""

MAX_VOXELS = 2_000_000_000
"""Maximum number of voxels read for the viewer, images, truths and predictions together: about one minute."""


@dataclass(frozen=True)
class Viewer:
    """Content of the viewer.

    Attributes:
        cases: one JSON-serialisable mapping per case: name, rank, axis, sheets, size of a slice, slice numbers, start.
        arms: name and title of every arm with predictions.
        left_out: number of further cases that do not fit.
    """

    cases: list[dict[str, Any]]
    arms: list[tuple[str, str]]
    left_out: int


def slice_viewer(folder: Path, study: Study, summary: Summary, records: Sequence[RunRecord]) -> Viewer | None:
    """Return the cases that fit; None if no case can be shown."""
    rows, selected = select_rows(summary), select_cases(study, summary, records)
    cases: list[dict[str, Any]] = []
    size = voxels = 0
    for case, rank in selected:
        result = _case_content(folder, study, summary, records, rows, case, rank)
        if result is None:
            continue
        content, read = result
        size, voxels = size + _num_chars(content), voxels + read
        if cases and (size > BUDGET or voxels > MAX_VOXELS):
            break
        cases.append(content)
    if not cases:
        return None
    return Viewer(cases, [(row.arm, row.title) for row in rows], len(selected) - len(cases))


def _case_content(
    folder: Path,
    study: Study,
    summary: Summary,
    records: Sequence[RunRecord],
    rows: Sequence[SummaryRow],
    case: str,
    rank: str,
) -> tuple[dict[str, Any], int] | None:
    """Return the content of one case and the number of voxels read; None if image or truth cannot be shown."""
    paths = study.cases[case]
    try:
        image, truth = to_ras(read_volume(folder / paths.image)), to_ras(read_volume(folder / (paths.truth or "")))
    except DimliftError:
        return None  # reported where the page shows the case as a still image
    if image.shape != truth.shape:
        return None
    axis, start = largest_label_slice(truth)
    depth = image.shape[axis]
    indices = np.unique(np.linspace(0, depth - 1, min(NUM_SLICES, depth)).round().astype(int))
    size = slice_size(image, axis, SIDE)

    def label_sheet(volume: Volume) -> str:
        labels = palette_indices(to_integers(volume))
        return label_sprite_sheet([resize_labels(take_slice(labels, axis, index), size) for index in indices])

    predictions, voxels = {}, 2 * image.array.size
    for row in rows:
        stored = find_prediction(folder, records, row, case)
        if stored is None:
            continue
        path, record = stored
        try:
            volume = to_ras(read_volume(path))
        except DimliftError:
            continue
        if volume.shape == image.shape:
            voxels += volume.array.size
            score = f"{format_case_score(summary, record, case)}, seed {record.seed}"
            predictions[row.arm] = {"sheet": label_sheet(volume), "score": score}
    content = {
        "name": case,
        "rank": rank,
        "axis": AXES[axis],
        "height": size[0],
        "width": size[1],
        "columns": num_columns(len(indices)),
        "slices": [int(index) + 1 for index in indices],
        "of": int(depth),
        "start": int(np.abs(indices - start).argmin()),
        "image": _image_sheet(image, axis, indices, size),
        "truth": label_sheet(truth),
        "predictions": predictions,
    }
    return content, voxels


def _image_sheet(image: Volume, axis: int, indices: np.ndarray, size: tuple[int, int]) -> str:
    slices = [take_slice(image.array, axis, index) for index in indices]
    sample = np.concatenate([np.nan_to_num(flat[::2, ::2].astype(float)).ravel() for flat in slices])
    low, high = np.percentile(sample, (0.5, 99.5))
    return grey_sprite_sheet([to_grey(flat, low, high) for flat in slices], size)


def _num_chars(content: dict[str, Any]) -> int:
    sheets = [content["image"], content["truth"], *(found["sheet"] for found in content["predictions"].values())]
    return sum(map(len, sheets))
