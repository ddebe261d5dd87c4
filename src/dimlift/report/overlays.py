"""One slice of a test case as an image, with the true and the predicted labels drawn on it."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
from jaxtyping import Int, UInt8
from scipy import ndimage

from dimlift.data.io.readers import read_volume
from dimlift.data.volume import Volume
from dimlift.errors import DataError
from dimlift.records.record import RunRecord
from dimlift.records.study import Study
from dimlift.report.case_views import CaseDrawing, CaseRenderer
from dimlift.report.slice_images import (
    AXES,
    label_colour,
    largest_label_slice,
    resize_labels,
    slice_size,
    take_slice,
    to_grey,
    to_integers,
    to_ras,
)
from dimlift.report.slice_viewer import Viewer, slice_viewer
from dimlift.report.summary_types import Summary

LONGEST_SIDE = 300


class VolumeRenderer(CaseRenderer):
    """Draws the slice with most foreground."""

    suffix = ".nii.gz"
    note = (
        "The slice with most foreground, from the first seed. On predictions the white line is the outline of all true "
        "foreground."
    )

    def legend(self, study: Study) -> list[tuple[str, str]]:
        """Return name and CSS colour of every label but the background."""
        drawn = [(name, value) for name, value in study.dataset.labels.items() if value > 0]
        return [(name, "rgb({}, {}, {})".format(*label_colour(value))) for name, value in drawn]

    def open(self, folder: Path, study: Study, case: str) -> "SliceDrawing":
        """Read an image and its mask."""
        paths = study.cases[case]
        image = to_ras(read_volume(folder / paths.image))
        truth = to_ras(read_volume(folder / (paths.truth or "")))
        if truth.shape != image.shape:
            raise DataError("image and truth have different shapes")
        return SliceDrawing(image, truth)

    def viewer(self, folder: Path, study: Study, summary: Summary, records: Sequence[RunRecord]) -> Viewer | None:
        """Return the content of the slice viewer."""
        return slice_viewer(folder, study, summary, records)


class SliceDrawing(CaseDrawing):
    """One slice of an image and its truth."""

    def __init__(self, image: Volume, truth: Volume) -> None:
        self._shape = image.shape
        self._axis, self._index = largest_label_slice(truth)
        self.where = f"{AXES[self._axis]} slice {self._index + 1} of {image.shape[self._axis]}"
        self._size = slice_size(image, self._axis, LONGEST_SIDE)
        flat = np.nan_to_num(take_slice(image.array, self._axis, self._index).astype(float))
        grey = to_grey(flat, *np.percentile(flat, (0.5, 99.5)))
        grid = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(self._size, flat.shape, strict=True)]
        resized = ndimage.map_coordinates(grey, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")
        self._grey = resized.clip(0, 255).astype(np.uint8)
        self._truth = self._slice(to_integers(truth))

    def images(self) -> list[tuple[str, str]]:
        """Return the image, and the truth on it."""
        return [("Image", self._draw(None)), ("Truth", self._draw(self._truth))]

    def prediction(self, path: Path) -> str:
        """Draw predicted labels, with the outline of the true foreground."""
        labels = to_ras(read_volume(path))
        if labels.shape != self._shape:
            raise DataError("the prediction has another shape than the image")
        return self._draw(self._slice(to_integers(labels)), outline=True)

    def _draw(self, labels: Int[np.ndarray, "height width"] | None, outline: bool = False) -> str:
        """Return a PNG as data URL."""
        pixels = np.repeat(self._grey[..., None], 3, axis=-1)
        if labels is not None:
            pixels = _blend(pixels, labels)
        if outline:
            pixels[_edge(self._truth > 0)] = 255
        buffer = io.BytesIO()
        matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "dimlift"})
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def _slice(self, labels: Int[np.ndarray, "i j k"]) -> Int[np.ndarray, "height width"]:
        return resize_labels(take_slice(labels, self._axis, self._index), self._size)


def _blend(pixels: UInt8[np.ndarray, "height width 3"], labels: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels with each label in its colour, its outline opaque."""
    blended = pixels.astype(float)
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        colour = np.array(label_colour(int(value)), float)
        blended[inside] = 0.55 * blended[inside] + 0.45 * colour
        blended[_edge(inside)] = colour
    return blended.round().astype(np.uint8)


def _edge(inside: np.ndarray) -> np.ndarray:
    return inside & ~ndimage.binary_erosion(inside)
