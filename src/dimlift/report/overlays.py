"""Three cases as pictures: image, truth, and what each arm made of it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
from jaxtyping import Int, UInt8
from scipy import ndimage

from dimlift.data.io.readers import read_file
from dimlift.data.volume import Volume
from dimlift.errors import DimliftError
from dimlift.records.record import Record
from dimlift.records.study import Study
from dimlift.report.case_selection import MOST_PREDICTIONS, ranked_cases, score_of_case, shown_rows, stored_prediction
from dimlift.report.slice_images import (
    AXES,
    busiest_slice,
    colour_of,
    cut,
    greys,
    nearest,
    picture_size,
    upright,
    whole_numbers,
)
from dimlift.report.summary_types import Row, Summary

LONGEST_SIDE = 300


@dataclass(frozen=True)
class Panel:
    """One picture, or the reason why there is none."""

    caption: str
    alt: str
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CaseView:
    """One case: why it is shown, and its pictures."""

    name: str
    rank: str
    where: str
    panels: tuple[Panel, ...]


def label_legend(study: Study) -> list[tuple[str, str]]:
    """Name and CSS colour of every label that is drawn."""
    drawn = [(name, value) for name, value in study.dataset.labels.items() if value > 0]
    return [(name, "rgb({}, {}, {})".format(*colour_of(value))) for name, value in drawn]


def case_views(folder: Path, study: Study, summary: Summary, records: Sequence[Record]) -> list[CaseView]:
    """The best, the median and the worst case of the reference (of the first arm with results, if it has none)."""
    chosen = [(case, rank) for case, rank in ranked_cases(study, summary, records) if rank]
    return [_view(folder, study, summary, records, case, rank) for case, rank in chosen]


def _view(folder: Path, study: Study, summary: Summary, records: Sequence[Record], case: str, rank: str) -> CaseView:
    paths = study.cases[case]
    try:
        image = upright(read_file(folder / paths.image))
        truth = upright(read_file(folder / (paths.truth or "")))
    except DimliftError as fault:
        return CaseView(case, rank, "", (Panel("image", "", reason=str(fault)),))
    if truth.shape != image.shape:
        return CaseView(case, rank, "", (Panel("truth", "", reason="image and truth have different shapes"),))
    axis, index = busiest_slice(truth)
    where = f"{AXES[axis]} slice {index + 1} of {image.shape[axis]}"
    drawn = whole_numbers(truth)
    picture = _Picture(image, drawn, axis, index)
    panels = [
        Panel("Image", f"{case}, {where}: image", picture.source()),
        Panel("Truth", f"{case}, {where}: truth", picture.source(drawn)),
    ]
    for row in shown_rows(summary)[:MOST_PREDICTIONS]:
        panels.append(_prediction(folder, records, row, case, where, picture, summary))
    return CaseView(case, rank, where, tuple(panels))


def _prediction(
    folder: Path,
    records: Sequence[Record],
    row: Row,
    case: str,
    where: str,
    picture: "_Picture",
    summary: Summary,
) -> Panel:
    """The prediction of the arm's first seed that has one."""
    found = stored_prediction(folder, records, row, case)
    if found is None:
        return Panel(row.title, "", reason="no prediction of this case is stored")
    path, record = found
    try:
        labels = upright(read_file(path))
    except DimliftError as fault:
        return Panel(row.title, "", reason=str(fault))
    if labels.shape != picture.shape:
        return Panel(row.title, "", reason="the prediction has another shape than the image")
    score = score_of_case(summary, record, case)
    alt = f"{case}, {where}: prediction of {row.title}, {score}"
    return Panel(f"{row.title} · {score}", alt, picture.source(whole_numbers(labels), outline=True))


class _Picture:
    """One slice of an image and its truth, ready to be drawn on."""

    def __init__(self, image: Volume, truth: Int[np.ndarray, "i j k"], axis: int, index: int) -> None:
        self.shape, self._axis, self._index = image.shape, axis, index
        self._size = picture_size(image, axis, LONGEST_SIDE)
        flat = np.nan_to_num(cut(image.array, axis, index).astype(float))
        grey = greys(flat, *np.percentile(flat, (0.5, 99.5)))
        places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(self._size, flat.shape, strict=True)]
        resized = ndimage.map_coordinates(grey, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
        self._grey = resized.clip(0, 255).astype(np.uint8)
        self._truth = self._drawn(truth)

    def source(self, labels: Int[np.ndarray, "i j k"] | None = None, outline: bool = False) -> str:
        """The slice as a PNG inside a data address, `labels` washed over it; the true foreground as a white line."""
        pixels = np.repeat(self._grey[..., None], 3, axis=-1)
        if labels is not None:
            pixels = _painted(pixels, self._drawn(labels))
        if outline:
            pixels[_edge(self._truth > 0)] = 255
        buffer = io.BytesIO()
        matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "dimlift"})
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def _drawn(self, labels: Int[np.ndarray, "i j k"]) -> Int[np.ndarray, "height width"]:
        return nearest(cut(labels, self._axis, self._index), self._size)


def _painted(pixels: UInt8[np.ndarray, "height width 3"], labels: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    pixels = pixels.astype(float)
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        colour = np.array(colour_of(int(value)), float)
        pixels[inside] = 0.55 * pixels[inside] + 0.45 * colour
        pixels[_edge(inside)] = colour
    return pixels.round().astype(np.uint8)


def _edge(inside: np.ndarray) -> np.ndarray:
    return inside & ~ndimage.binary_erosion(inside)
