"""Files written in one piece: whoever reads, and whenever a process is killed, finds the whole file or the one before.

The text-book order: a temporary file in the same folder, flushed to disk, renamed, the folder flushed to disk.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRATCH = ".*.part"
"""Pattern of the temporary files; those of a killed process stay until the next run in the same folder."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside `path`; once the block has filled it, it takes the place of `path`."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield scratch
        scratch.chmod(0o666 & ~_umask())  # safetensors makes files only their owner may read
        _flush(scratch)
        os.replace(scratch, path)
        _flush(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def remove_scratch(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below; only for who owns the folder."""
    for left in folder.rglob(SCRATCH):
        left.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
