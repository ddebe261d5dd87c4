"""The files of a folder that are slices of a DICOM series, by content or by name.

A file that is named like the slices beside it counts as one: if it is empty, cut or not fetched, the series is refused
by that name. A shorter volume would otherwise be read.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from dimlift.data.io.regular_file import require_regular_file
from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError

EXPORT_AGAIN = "export the series again from the archive"

_SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC = (b"DICM", 128)
_START = struct.Struct("<HH2sH")
_EXPLICIT_VRS = re.compile(rb"AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|OB|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT")


def is_dicom(path: Path) -> bool:
    """Return whether a regular file begins as DICOM does, with its preamble or without.

    Without the preamble it must have a DICOM suffix, or no suffix of letters.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(_MAGIC[1] + len(_MAGIC[0]))
    except OSError:
        return False
    return start[_MAGIC[1] :] == _MAGIC[0] or (_suffix(path) in ("", *_SUFFIXES) and _begins_with_element(start))


def has_dicom_files(folder: Path) -> bool:
    """Return whether a folder directly contains a file with a DICOM suffix or DICOM content."""
    return any(_suffix(path) in _SUFFIXES or is_dicom(path) for path in _entries(folder))


def list_slice_files(folder: Path) -> list[Path]:
    """Return the files of a series, sorted by name; an empty list if the folder has none.

    Raises:
        CorruptFileError: if a file with a DICOM suffix, or one that is named like the slices, does not begin as DICOM.
        DataError: if such a name is a dangling link, a FIFO or a device.
    """
    entries = sorted(_entries(folder))
    begins = {path: is_dicom(path) for path in entries}
    certain = [path for path in entries if begins[path] or _suffix(path) in _SUFFIXES]
    suffixes, letters = {_suffix(path) for path in certain}, {_letters(path) for path in certain}
    files = [
        path
        for path in entries
        if path in certain
        or (_suffix(path) == "" and re.search("[0-9]", path.name) and ("" in suffixes or _letters(path) in letters))
        or (_suffix(path) != "" and _suffix(path) in suffixes)
    ]
    for path in files if certain else ():
        require_regular_file(path)
        if not begins[path]:
            what = "is empty" if path.stat().st_size == 0 else "does not begin as one"
            message = f"is not a complete DICOM file ({what}), but is named like a slice of its series"
            raise Issue(str(path), "error", message, f"{EXPORT_AGAIN}, or remove it").as_error(CorruptFileError)
    return files if certain else []


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what is not hidden and not a folder: files, but also dangling links and special files."""
    for path in folder.iterdir():
        if not path.name.startswith(".") and path.name.upper() != "DICOMDIR" and not path.is_dir():
            yield path


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, "" if it has no letter: the last part of a UID or a number is no suffix."""
    suffix = path.suffix.lower()
    return suffix if re.search("[a-z]", suffix) else ""


def _letters(path: Path) -> str:
    """Return a name without its suffix and its digits."""
    return re.sub("[0-9]+", "", path.stem if _suffix(path) else path.name)


def _begins_with_element(start: bytes) -> bool:
    """Return whether bytes begin with an element of group 2 or 8, with which every object without a preamble begins."""
    if len(start) < _START.size:
        return False
    group, element, representation, _ = _START.unpack_from(start)
    (length,) = struct.unpack_from("<I", start, 4)
    if group in (0x0002, 0x0008) and element < 0x0200 and _EXPLICIT_VRS.fullmatch(representation):
        return True
    return group == 0x0008 and element < 0x0070 and length % 2 == 0 and length <= 256
