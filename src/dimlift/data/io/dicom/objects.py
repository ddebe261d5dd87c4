"""DICOM objects on disk through pydicom, which is imported here and nowhere else."""

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Finding
from dimlift.errors import DamagedFile, DataError
from dimlift.records.atomic_write import written_whole

_AGAIN = "export it again from the archive"
_MARK = (b"DICM", 128)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as stream:
            stream.seek(_MARK[1])
            return stream.read(4) == _MARK[0]
    except OSError:
        return False


def read_object(path: Path, pixels: bool = False) -> Any:
    """A DICOM object; without pixels only what is said about them.

    Raises:
        DamagedFile: if it cannot be understood.
    """
    try:
        return _library().dcmread(path, stop_before_pixels=not pixels)
    except DataError:
        raise
    except Exception as fault:  # a broken file breaks pydicom in any way there is
        found = f"is no whole DICOM file ({type(fault).__name__}: {fault})"
        raise Finding(str(path), "error", found, _AGAIN).as_error(DamagedFile) from fault


def read_slice(path: Path) -> NDArray[Any]:
    """The stored values of a single-frame image, (rows, columns), before any rescaling.

    Raises:
        DamagedFile: if there are not exactly as many bytes as rows, columns and bits ask for.
        DataError: if they are compressed in a way that nothing installed can read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = read_object(path, pixels=True)
        if not content.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in content:
            wanted = int(content.Rows) * int(content.Columns) * (int(content.BitsAllocated) // 8)
            if len(content.PixelData) not in (wanted, wanted + wanted % 2):
                found = f"holds {len(content.PixelData)} bytes of pixels, its header asks for {wanted}"
                raise Finding(str(path), "error", found, _AGAIN).as_error(DamagedFile)
        try:
            return np.asarray(content.pixel_array)
        except (NotImplementedError, RuntimeError) as fault:
            name = content.file_meta.TransferSyntaxUID.name
            remedy = "decompress it (dcmdjpeg, gdcmconv --raw), or install a plug-in that pydicom knows for it"
            found = f"has pixels compressed as {name}, which cannot be read here"
            raise Finding(str(path), "error", found, remedy).as_error() from fault
        except Exception as fault:
            found = f"has pixels that cannot be read ({fault})"
            raise Finding(str(path), "error", found, _AGAIN).as_error(DamagedFile) from fault


def make_object(fields: Mapping[str, Any]) -> Any:
    """A dataset of these attributes by keyword; a list of mappings becomes a sequence."""
    made = _library().Dataset()
    for name, value in fields.items():
        nested = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
        setattr(made, name, [make_object(item) for item in value] if nested else value)
    return made


def as_file(content: Any) -> Any:
    """The same dataset with what makes it a file: SOP class and instance, explicit little endian."""
    pydicom = _library()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = content.SOPClassUID
    meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta = meta
    return content


def new_uid() -> str:
    """A unique identifier nobody else has."""
    return str(_library().uid.generate_uid(prefix=None))


def write_object(path: Path, content: Any) -> Path:
    """Write a DICOM file in one piece: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as scratch, scratch.open("wb") as stream:
        content.save_as(stream, enforce_file_format=True)
    return path


@cache
def _library() -> Any:
    try:
        import pydicom
        import pydicom.uid
    except ImportError as fault:
        raise DataError("DICOM needs the dicom extra: pip install 'dimlift[dicom]'") from fault
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    return pydicom
