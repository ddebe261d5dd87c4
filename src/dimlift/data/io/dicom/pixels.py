"""Stored values of DICOM files. Compressed pixels are decoded in the decoder process, by libraries written in C."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.decoder_process import decode_in_process
from dimlift.data.io.dicom.objects import import_pydicom, read_object
from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError

_FIX = "export it again from the archive"
_PREFERRED = ("pydicom", "pyjpegls", "pylibjpeg", "gdcm")
"""Decoders, the first available one counts."""
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_END_OF_IMAGE = b"\xff\xd9"


def read_frames(path: Path) -> list[NDArray[Any]]:
    """Return the stored values of every frame, (rows, columns), before rescaling.

    Raises:
        CorruptFileError: if the number of bytes differs from what rows, columns and bits require, or if a decoder
            refuses them or crashes.
        DataError: if the pixels are compressed and no installed decoder can read them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = _read_whole(path)
        if content.file_meta.TransferSyntaxUID.is_encapsulated:
            return decode_in_process("dicom pixels", path)
        frames = int(content.get("NumberOfFrames", 1) or 1)
        if "PixelData" in content:
            expected = frames * int(content.Rows) * int(content.Columns) * (int(content.BitsAllocated) // 8)
            if len(content.PixelData) not in (expected, expected + expected % 2):
                message = f"holds {len(content.PixelData)} bytes of pixels; its header requires {expected}"
                raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)
        try:
            array = np.asarray(content.pixel_array)
        except Exception as fault:  # pydicom raises errors of any kind
            message = f"has pixels that cannot be read ({fault})"
            raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError) from fault
    return list(array.reshape(frames, int(content.Rows), int(content.Columns)))


def decode_pixels(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the frames of a file with compressed pixels. Runs in the decoder process.

    Raises:
        CorruptFileError, DataError: as `read_frames`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = _read_whole(path)
        syntax = content.file_meta.TransferSyntaxUID
        import_pydicom()
        from pydicom.pixels import get_decoder, iter_pixels

        try:
            plugins = get_decoder(syntax).available_plugins
        except NotImplementedError:
            plugins = ()
        if not plugins:
            message = f"has pixels compressed as {syntax.name}, for which no decoder is installed"
            fix = "install the dicom extra again (pip install 'dimlift[dicom]'), or decompress it (gdcmconv --raw)"
            raise Issue(str(path), "error", message, fix).as_error()
        frames, shape = int(content.get("NumberOfFrames", 1) or 1), (int(content.Rows), int(content.Columns))
        count = 0
        try:
            if syntax in _JPEG_LS:
                _require_ends(content.PixelData, frames)
            for count, frame in enumerate(
                iter_pixels(content, raw=True, decoding_plugin=_choose_plugin(plugins)), start=1
            ):
                if frame.shape != shape:
                    raise ValueError(f"frame {count} has {frame.shape}, its header states {shape}")
                yield np.asarray(frame)
        except MemoryError:
            raise
        except Exception as fault:  # decoders raise errors of any kind
            reason = " ".join(str(fault).split())[:300]
            message = f"has pixels compressed as {syntax.name} that cannot be read ({reason})"
            raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError) from fault
        if count != frames:
            message = f"has {count} compressed frames; its header states {frames}"
            raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)


def _read_whole(path: Path) -> Any:
    content = read_object(path, pixels=True)
    if "Rows" not in content or "Columns" not in content:  # pydicom drops what comes before an unfinished element
        raise Issue(str(path), "error", "is truncated: its pixels do not end", _FIX).as_error(CorruptFileError)
    return content


def _require_ends(pixels: bytes, frames: int) -> None:
    """Raise ValueError if a JPEG-LS frame lacks its end; CharLS takes many seconds to find that out."""
    from pydicom.encaps import generate_frames

    for number, frame in enumerate(generate_frames(pixels, number_of_frames=frames), start=1):
        if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
            raise ValueError(f"frame {number} is truncated")


def _choose_plugin(available: tuple[str, ...]) -> str:
    """Return one plugin: a second one would only repeat the refusal of the first, or read what it refuses."""
    return next((name for name in _PREFERRED if name in available), available[0])
