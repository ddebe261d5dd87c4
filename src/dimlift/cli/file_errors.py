"""Messages of file errors: the path, what the operating system reports, and what to do."""

import errno
import os
import shutil
from pathlib import Path

_SPACE = "free some space, or write to another disk"
_ELSEWHERE = "write to another folder"

_CURES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: "delete files that count towards the quota (`quota -s`), or write to another disk",
    errno.EFBIG: "raise the limit (`ulimit -f`), or write to another file system",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: "change the permissions, or choose another path",
    errno.EPERM: "change the permissions, or choose another path",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ENOTDIR: "choose a path below a folder",
    errno.EEXIST: "choose another path",
    errno.EISDIR: "give the path of a file",
    errno.ENOENT: "check the path",
    errno.ELOOP: "replace the link by the file itself",
    errno.EMFILE: "raise the limit (`ulimit -n`), or use fewer workers",
    errno.ENFILE: "end other programs, or use fewer workers",
    errno.ENOMEM: "end other programs, or use fewer workers and smaller patches",
    errno.EIO: "check the disk, and copy the file from its source again",
    errno.ESTALE: "check that the network disk is mounted, and repeat the command",
    errno.EBUSY: "end the program that uses it, and repeat the command",
}

_MEMORY_SIGNS = (
    "can't allocate memory", "bad_alloc", "can't start new thread", "out of memory", "could not create a primitive",
)  # fmt: skip
"""What torch, oneDNN, C++ and Python report as RuntimeError."""


def describe_file_error(error: OSError) -> str:
    """Return one message with the path, the fact and the remedy."""
    path = _as_path(error.filename2 or error.filename)
    reason = _reason(error, path)
    cure = _CURES.get(error.errno or 0, "check the path and the disk, and repeat the command")
    return f"{path}: {reason}; {cure}" if path else f"{reason}; {cure}"


def describe_memory_error(error: BaseException) -> str | None:
    """Return one message for an allocation that failed, None for any other error."""
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in _MEMORY_SIGNS):
        detail = f" ({text.strip().splitlines()[0]})" if text.strip() else ""
        return f"out of memory{detail}; end other programs, or use smaller volumes, patches or batches"
    return None


def _as_path(name: str | bytes | int | None) -> str:
    return "" if name is None or isinstance(name, int) else os.fsdecode(name)


def _reason(error: OSError, path: str) -> str:
    if error.errno == errno.ENOSPC and path:
        return f"no space left on the disk, {_free_bytes(Path(path)) / 1e6:.1f} MB are free"
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and (file := _file_above(Path(path))) is not None:
        return f"{file} is a file, not a folder"
    if error.errno == errno.ENAMETOOLONG and path:
        return f"the name has {max(len(os.fsencode(part)) for part in Path(path).parts)} bytes, more than a disk takes"
    if error.errno is None or error.strerror is None:
        return str(error) or type(error).__name__
    return error.strerror[:1].lower() + error.strerror[1:]


def _free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that a path, which need not exist, lies on."""
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return 0


def _file_above(path: Path) -> Path | None:
    """Return the part of a path that is a file although it should be a folder."""
    return next((part for part in (path, *path.parents) if part.is_file()), None)
