"""One image file, decoded completely: allowed formats, and 8-bit RGB from any bit depth."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dimlift.errors import CorruptFileError, DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
"""Formats that are decoded. Others are not, whatever the suffix: for EPS, Pillow would start Ghostscript."""

_MAX_NAMED = 5
_FAULTS = (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError)


def read_rgb(path: Path) -> Image.Image:
    """Decode an image completely and convert it to RGB of 8 bits.

    Grey images of 16 bits are divided by 257. Floating-point images have no bit depth: those up to 1 are multiplied by
    255, those up to 255 are kept, those up to 65535 are divided by 257.

    Raises:
        CorruptFileError: if the file is truncated or not an image.
        DataError: if its values are not finite, negative, or above 65535.
    """
    image = decode_image(path)
    if image.mode.startswith("I;16"):
        return _to_rgb(np.asarray(image).astype(np.float32) / np.float32(65535))
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 65535):
            raise DataError(
                f"{path} has {'floating-point' if image.mode == 'F' else '32-bit'} values from {low:g} to {high:g}; "
                "expected: 0 to 1, 255 or 65535; save it with 8 or 16 bits"
            )
        scale = 65535 if image.mode == "I" or high > 255 else 255 if high > 1 else 1
        return _to_rgb(values.astype(np.float32) / np.float32(scale))
    try:
        return image.convert("RGB")
    except _FAULTS as fault:
        raise _refusal(path, fault) from fault


def decode_image(path: Path) -> Image.Image:
    """Decode an image completely, in its own mode.

    Raises:
        CorruptFileError: if the file is truncated or of none of `FORMATS`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return image.copy()
    except _FAULTS as fault:
        raise _refusal(path, fault) from fault


def require_readable_images(paths: Sequence[Path]) -> None:
    """Decode every image, so that a broken one is named before training begins.

    Raises:
        DataError: naming the first broken images and their number.
    """
    with ThreadPoolExecutor() as pool:
        broken = [fault for fault in pool.map(_fault_of, paths) if fault is not None]
    if len(broken) == 1:
        raise broken[0]
    if broken:
        named = "; ".join(str(fault) for fault in broken[:_MAX_NAMED])
        more = f"; and {len(broken) - _MAX_NAMED} more" if len(broken) > _MAX_NAMED else ""
        raise DataError(f"{len(broken)} of {len(paths)} images cannot be used: {named}{more}")


def _fault_of(path: Path) -> DataError | None:
    try:
        read_rgb(path)
    except DataError as fault:
        return fault
    return None


def _to_rgb(fractions: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Image.Image:
    return Image.fromarray(np.rint(fractions * 255).astype(np.uint8)).convert("RGB")


def _refusal(path: Path, fault: Exception) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be decoded as an image ({fault}); copy it again or remove it")
