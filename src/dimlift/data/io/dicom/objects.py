"""DICOM objects on disk through pydicom, which is imported only here."""

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write

_FIX = "export it again from the archive"
_MAGIC = (b"DICM", 128)


def is_dicom(path: Path) -> bool:
    """Return whether a file has the DICOM magic bytes."""
    try:
        with path.open("rb") as stream:
            stream.seek(_MAGIC[1])
            return stream.read(4) == _MAGIC[0]
    except OSError:
        return False


def read_object(path: Path, pixels: bool = False) -> Any:
    """Read a DICOM object, with or without its pixels.

    Raises:
        CorruptFileError: if it cannot be parsed.
    """
    try:
        return _import_pydicom().dcmread(path, stop_before_pixels=not pixels)
    except DataError:
        raise
    except Exception as fault:  # pydicom raises errors of any kind for a corrupt file
        message = f"is not a complete DICOM file ({type(fault).__name__}: {fault})"
        raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError) from fault


def read_slice(path: Path) -> NDArray[Any]:
    """Return the stored values of a single-frame image, (rows, columns), before rescaling.

    Raises:
        CorruptFileError: if the number of bytes differs from what rows, columns and bits require.
        DataError: if the pixels are compressed and no installed decoder can read them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = read_object(path, pixels=True)
        if not content.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in content:
            expected = int(content.Rows) * int(content.Columns) * (int(content.BitsAllocated) // 8)
            if len(content.PixelData) not in (expected, expected + expected % 2):
                message = f"holds {len(content.PixelData)} bytes of pixels; its header requires {expected}"
                raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)
        try:
            return np.asarray(content.pixel_array)
        except (NotImplementedError, RuntimeError) as fault:
            name = content.file_meta.TransferSyntaxUID.name
            fix = "decompress it (dcmdjpeg, gdcmconv --raw), or install a pydicom plug-in for it"
            message = f"has pixels compressed as {name}, for which no decoder is installed"
            raise Issue(str(path), "error", message, fix).as_error() from fault
        except Exception as fault:
            message = f"has pixels that cannot be read ({fault})"
            raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError) from fault


def make_object(fields: Mapping[str, Any]) -> Any:
    """Return a DICOM dataset with these attributes by keyword; a list of mappings becomes a sequence."""
    dataset = _import_pydicom().Dataset()
    for name, value in fields.items():
        nested = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
        setattr(dataset, name, [make_object(item) for item in value] if nested else value)
    return dataset


def add_file_meta(content: Any) -> Any:
    """Add the file meta information (SOP class, SOP instance, explicit VR little endian) to a dataset."""
    pydicom = _import_pydicom()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = content.SOPClassUID
    meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta = meta
    return content


def new_uid() -> str:
    """Return a new unique identifier."""
    return str(_import_pydicom().uid.generate_uid(prefix=None))


def write_object(path: Path, content: Any) -> Path:
    """Write a DICOM file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        content.save_as(stream, enforce_file_format=True)
    return path


@cache
def _import_pydicom() -> Any:
    try:
        import pydicom
        import pydicom.uid
    except ImportError as fault:
        raise DataError("DICOM needs the dicom extra: pip install 'dimlift[dicom]'") from fault
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    return pydicom
