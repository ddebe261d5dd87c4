"""The slices of a volume on one sheet, as a picture inside a data address."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimlift.report.slice_images import LABEL_COLOURS

QUALITY = 80
"""Of the JPEG sheets of intensities; labels are PNG, exact."""


def columns_of(count: int) -> int:
    """How many slices stand side by side on a sheet of `count`."""
    return math.ceil(math.sqrt(count))


def grey_sheet(slices: Sequence[np.ndarray], size: tuple[int, int]) -> str:
    """Intensities (0 to 255), each slice resized to `size` (rows, columns), on one sheet."""
    resized = [
        np.asarray(Image.fromarray(flat.astype(np.uint8)).resize(size[::-1], Image.Resampling.BILINEAR))
        for flat in slices
    ]
    return _address(Image.fromarray(_sheet(resized)), "jpeg", quality=QUALITY)


def label_sheet(slices: Sequence[UInt8[np.ndarray, "rows columns"]]) -> str:
    """Places in `LABEL_COLOURS` counted from 1, on one sheet; 0 is transparent."""
    picture = Image.fromarray(_sheet(slices)).convert("P")
    picture.putpalette([0, 0, 0, *(part for colour in LABEL_COLOURS for part in colour)])
    return _address(picture, "png", transparency=0, optimize=True)


def _sheet(slices: Sequence[np.ndarray]) -> np.ndarray:
    columns = columns_of(len(slices))
    rows, height, width = math.ceil(len(slices) / columns), *slices[0].shape
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    for number, flat in enumerate(slices):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = flat
    return sheet


def _address(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
