"""Refusal of what is not a regular file: reading a FIFO or a device never ends."""

import os
import stat
from pathlib import Path

from dimlift.data.issue import Issue

_KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip


def require_regular_file(path: Path) -> None:
    """Raise unless a path is a regular file, or a link to one. Nothing is opened.

    Raises:
        DataError: if it does not exist, is a link to itself, or is a FIFO, a socket, a device or a folder.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise Issue(str(path), "error", "does not exist", "restore it, or remove its case").as_error() from fault
    except (OSError, ValueError) as fault:
        message = f"cannot be opened ({getattr(fault, 'strerror', None) or fault})"
        raise Issue(str(path), "error", message, "restore it, or remove its case").as_error() from fault
    if not stat.S_ISREG(mode):
        message = f"is {_KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a regular file"
        raise Issue(str(path), "error", message, "replace it by a file, or remove its case").as_error()
