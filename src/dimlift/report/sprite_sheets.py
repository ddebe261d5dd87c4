"""All slices of a volume in one image, as a data URL."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimlift.report.slice_images import LABEL_COLOURS

QUALITY = 80
"""JPEG quality of intensities; labels are stored losslessly as PNG."""


def num_columns(count: int) -> int:
    """Return the number of slices per row on a sheet of `count` slices."""
    return math.ceil(math.sqrt(count))


def grey_sprite_sheet(slices: Sequence[np.ndarray], size: tuple[int, int]) -> str:
    """Return a sheet of intensities (0 to 255), each slice resized to `size` (rows, columns)."""
    resized = [
        np.asarray(Image.fromarray(flat.astype(np.uint8)).resize(size[::-1], Image.Resampling.BILINEAR))
        for flat in slices
    ]
    return _data_url(Image.fromarray(_tile(resized)), "jpeg", quality=QUALITY)


def label_sprite_sheet(slices: Sequence[UInt8[np.ndarray, "rows columns"]]) -> str:
    """Return a sheet of indices into `LABEL_COLOURS`, counted from 1; 0 is transparent."""
    image = Image.fromarray(_tile(slices)).convert("P")
    image.putpalette([0, 0, 0, *(part for colour in LABEL_COLOURS for part in colour)])
    return _data_url(image, "png", transparency=0, optimize=True)


def _tile(slices: Sequence[np.ndarray]) -> np.ndarray:
    columns = num_columns(len(slices))
    rows, height, width = math.ceil(len(slices) / columns), *slices[0].shape
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    for number, flat in enumerate(slices):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = flat
    return sheet


def _data_url(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
