"""Resident memory of this process: now, and the most of a stretch of work; sizes as people write them."""

import ctypes
import gc
import os
import re
import resource
from pathlib import Path

import psutil

from dimlift.errors import ConfigError

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class PeakMemory:
    """Measures from its creation on.

    Linux keeps a high-water mark for each process, which writing "5" to /proc/self/clear_refs resets. Where that is
    not allowed the mark of the whole life of the process is given, which is at least as large.
    """

    def __init__(self) -> None:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, which belongs to the work before
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except (OSError, AttributeError):
            pass
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def bytes(self) -> int:
        """Largest resident set since the creation of this object."""
        try:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError):
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * 1024 if os.uname().sysname == "Linux" else peak


def resident_bytes() -> int:
    """Resident set of this process now."""
    return int(psutil.Process().memory_info().rss)


def bytes_of(text: str) -> int:
    """A size as people write it: "3GiB", "2.5 G", "800M", a plain number of bytes.

    Raises:
        ConfigError: if it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(|k|[KMGT]i|[MGT])B?\s*", text)
    if match is None:
        raise ConfigError(f"{text!r} is not an amount of memory; write for example 3GiB or 800M")
    return int(float(match[1]) * _UNITS[match[2]])


def readable(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
