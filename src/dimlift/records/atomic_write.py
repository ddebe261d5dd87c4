"""Atomic file writes: a reader finds the old file or the complete new one, even if the writer is killed.

Writes a temporary file in the same folder, flushes it to disk, renames it, and flushes the folder.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMP_PATTERN = ".*.part"
"""Glob pattern of the temporary files; a killed process leaves its own until the next run in the same folder."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file next to `path` and move it to `path` when the block has finished."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors creates files that only their owner may read
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temp_files(folder: Path) -> None:
    """Delete temporary files of killed processes in a folder and below. The caller must hold the folder's lock."""
    for leftover in folder.rglob(TEMP_PATTERN):
        leftover.unlink(missing_ok=True)


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
