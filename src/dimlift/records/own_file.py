"""Files that dimlift opens again and again in a folder of results: locks, attempts, curves.

A folder of results may come from someone else. Its files are opened without following links and without emptying them,
so that a link in it cannot lead to a file outside.
"""

import errno
import os
import stat
from pathlib import Path

from dimlift.errors import RunError


def open_own_file(path: Path, flags: int) -> int:
    """Return the descriptor of a regular file, which is created if it does not exist and never emptied.

    Args:
        flags: such as `os.O_RDWR`.

    Raises:
        RunError: if the path is a link, or no regular file, or a file that has a second name.
        OSError: as of `os.open`.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise RunError(f"{path} is a link; dimlift writes no file through a link: delete it") from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        kind = "has a second name (a hard link)" if stat.S_ISREG(found.st_mode) else "is no regular file"
        raise RunError(f"{path} {kind}; dimlift keeps a file of its own there: delete it")
    return descriptor
