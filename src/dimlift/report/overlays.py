"""Three cases as pictures: image, truth, and what each arm made of it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
from jaxtyping import Int, UInt8
from scipy import ndimage

from dimlift.data.formats import read_file
from dimlift.data.volume import Volume, voxel_sizes
from dimlift.errors import DimliftError
from dimlift.records.record import Record
from dimlift.records.study import Study
from dimlift.report.pairing import scores_of
from dimlift.report.rows import Summary
from dimlift.report.wording import number

LABEL_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
"""Okabe and Ito's colours, which people who confuse red and green can tell apart."""

LONGEST_SIDE = 300
AXES = ("sagittal", "coronal", "axial")


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
    return [(name, "rgb({}, {}, {})".format(*_colour(value))) for name, value in drawn]


def case_views(folder: Path, study: Study, summary: Summary, records: Sequence[Record]) -> list[CaseView]:
    """The best, the median and the worst case of the reference (of the first arm with results, if it has none)."""
    chosen = _chosen_cases(study, summary, records)
    return [_view(folder, study, summary, records, case, rank) for case, rank in chosen]


def _chosen_cases(study: Study, summary: Summary, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Cases with an image and a truth, ranked by their mean score."""
    judged = next(
        (row for row in sorted(summary.rows, key=lambda row: not row.is_reference) if row.mean is not None), None
    )
    if judged is None:
        return []
    scores: dict[str, list[float]] = {}
    for key, value in scores_of((r for r in records if r.arm == judged.arm), summary.measure.name).items():
        if value is not None and key[3] in study.cases and study.cases[key[3]].truth:
            scores.setdefault(key[3], []).append(value)
    ranked = sorted(scores, key=lambda case: (-summary.measure.better * float(np.mean(scores[case])), case))
    if not ranked:
        return []
    places = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    names = {place: f"{rank} for {judged.title}" for place, rank in reversed(places.items())}
    return [(ranked[place], names[place]) for place in sorted(names)]


def _view(folder: Path, study: Study, summary: Summary, records: Sequence[Record], case: str, rank: str) -> CaseView:
    paths = study.cases[case]
    try:
        image = _upright(read_file(folder / paths.image))
        truth = _upright(read_file(folder / (paths.truth or "")))
    except DimliftError as fault:
        return CaseView(case, rank, "", (Panel("image", "", reason=str(fault)),))
    if truth.shape != image.shape:
        return CaseView(case, rank, "", (Panel("truth", "", reason="image and truth have different shapes"),))
    axis, index = _busiest_slice(truth)
    where = f"{AXES[axis]} slice {index + 1} of {image.shape[axis]}"
    drawn = np.rint(truth.array).astype(int)
    picture = _Picture(image, drawn, axis, index)
    panels = [
        Panel("Image", f"{case}, {where}: image", picture.source()),
        Panel("Truth", f"{case}, {where}: truth", picture.source(drawn)),
    ]
    for row in summary.rows:
        if row.fraction == max(r.fraction for r in summary.rows):
            panels.append(_prediction(folder, records, row.arm, row.title, row.fraction, case, where, picture, summary))
    return CaseView(case, rank, where, tuple(panels))


def _prediction(
    folder: Path,
    records: Sequence[Record],
    arm: str,
    title: str,
    fraction: float,
    case: str,
    where: str,
    picture: "_Picture",
    summary: Summary,
) -> Panel:
    """The prediction of the arm's first seed that has one."""
    own = [r for r in records if (r.arm, r.fraction, r.status) == (arm, fraction, "finished")]
    for record in sorted(own, key=lambda r: (r.seed, r.fold)):
        path = folder / "predictions" / record.cell / f"{case}.nii.gz"
        if not path.is_file():
            continue
        values = [v for k, v in scores_of([record], summary.measure.name).items() if k[3] == case and v is not None]
        score = f"{summary.measure.title} {number(float(np.mean(values)), 2)}" if values else "no score"
        try:
            labels = _upright(read_file(path))
        except DimliftError as fault:
            return Panel(title, "", reason=str(fault))
        if labels.shape != picture.shape:
            return Panel(title, "", reason="the prediction has another shape than the image")
        alt = f"{case}, {where}: prediction of {title}, {score}"
        return Panel(f"{title} · {score}", alt, picture.source(np.rint(labels.array).astype(int), outline=True))
    return Panel(title, "", reason="no prediction of this case is stored" if own else "no finished cell yet")


def _upright(volume: Volume) -> Volume:
    """Axes turned to run right, anterior, superior; the first channel where there are several."""
    array = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
    turn = nibabel.io_orientation(volume.affine)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(turn, array.shape)
    return Volume(nibabel.apply_orientation(array, turn), affine, volume.path)


def _busiest_slice(truth: Volume) -> tuple[int, int]:
    """Axis with the thickest slices (axial if all are alike), and its slice with most foreground."""
    sizes = voxel_sizes(truth.affine)
    axis = 2 if np.isclose(sizes[2], sizes.max(), rtol=0.01) else int(sizes.argmax())
    others = tuple(other for other in range(3) if other != axis)
    return axis, int((truth.array > 0).sum(axis=others).argmax())


class _Picture:
    """One slice of an image and its truth, ready to be drawn on."""

    def __init__(self, image: Volume, truth: Int[np.ndarray, "i j k"], axis: int, index: int) -> None:
        self.shape, self._axis, self._index = image.shape, axis, index
        sizes = np.delete(voxel_sizes(image.affine), axis)
        flat = np.nan_to_num(self._cut(image.array).astype(float))
        height, width = flat.shape[0] * sizes[1], flat.shape[1] * sizes[0]
        scale = LONGEST_SIDE / max(height, width)
        self._size = max(1, round(height * scale)), max(1, round(width * scale))
        low, high = np.percentile(flat, (0.5, 99.5))
        grey = np.clip((flat - low) / max(high - low, 1e-12), 0, 1) * 255
        self._grey = self._resized(grey, order=1).clip(0, 255).astype(np.uint8)
        self._truth = self._resized(self._cut(truth), order=0)

    def source(self, labels: Int[np.ndarray, "i j k"] | None = None, outline: bool = False) -> str:
        """The slice as a PNG inside a data address, `labels` washed over it; the true foreground as a white line."""
        pixels = np.repeat(self._grey[..., None], 3, axis=-1)
        if labels is not None:
            pixels = _painted(pixels, self._resized(self._cut(labels), order=0))
        if outline:
            pixels[_edge(self._truth > 0)] = 255
        buffer = io.BytesIO()
        matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "dimlift"})
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def _cut(self, array: np.ndarray) -> np.ndarray:
        """Rows run downwards from anterior or superior, columns from left to right of the person."""
        return np.rot90(array.take(self._index, axis=self._axis))

    def _resized(self, flat: np.ndarray, order: int) -> np.ndarray:
        places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(self._size, flat.shape, strict=True)]
        return ndimage.map_coordinates(flat, np.meshgrid(*places, indexing="ij"), order=order, mode="nearest")


def _painted(pixels: UInt8[np.ndarray, "height width 3"], labels: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    pixels = pixels.astype(float)
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        colour = np.array(_colour(int(value)), float)
        pixels[inside] = 0.55 * pixels[inside] + 0.45 * colour
        pixels[_edge(inside)] = colour
    return pixels.round().astype(np.uint8)


def _edge(inside: np.ndarray) -> np.ndarray:
    return inside & ~ndimage.binary_erosion(inside)


def _colour(value: int) -> tuple[int, int, int]:
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]
