"""Atomic file writes: a reader finds the old file or the complete new one, even if the writer is killed.

Writes a temporary file in the same folder, flushes it to disk, renames it, and flushes the folder.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMP_PATTERN = ".*.part"
"""Glob pattern of the temporary files; a killed process leaves its own until the next run in the same folder."""

MAX_NAME_BYTES = 255
"""Length of a file name on the file systems of Linux, macOS and Windows; ITK appends a suffix to the temporary name."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file next to `path` and move it to `path` when the block has finished.

    Raises:
        OSError: if the disk is full, read-only or the like, with errno, and `path` as file name.
    """
    temporary = _temporary(path)
    try:
        temporary.unlink(missing_ok=True)  # a file or link of this name is not ours
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors creates files that only their owner may read
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except Exception as error:
        raise _with_path(error, path, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_temp_files(folder: Path) -> None:
    """Delete temporary files of killed processes in a folder and below. The caller must hold the folder's lock."""
    for leftover in folder.rglob(TEMP_PATTERN):
        leftover.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Return a name that no other process uses, and a short one if the name of the process would not fit."""
    name = f".{path.name}.{os.getpid()}.part"
    if len(os.fsencode(name)) > MAX_NAME_BYTES - 8:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.{os.getpid()}.part"
    return path.with_name(name)


def _with_path(error: Exception, path: Path, temporary: Path) -> Exception:
    """Return a file error that names the file; errors of other kinds, and those about other files, are returned as is.

    Only `open` and the like name a file. safetensors, written in Rust, states the number of the error in its text.
    """
    if isinstance(error, OSError):
        if error.errno is None or (error.filename is not None and Path(os.fsdecode(error.filename)) != temporary):
            return error
        return OSError(error.errno, os.strerror(error.errno), str(path))
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def _fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
