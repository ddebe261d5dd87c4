"""Resident memory of this process, and memory sizes as text."""

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
    """Peak memory since creation.

    Linux keeps a high-water mark per process, which writing "5" to /proc/self/clear_refs resets. Where that is not
    permitted, the peak of the whole process is returned, which is an upper bound.
    """

    def __init__(self) -> None:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory of earlier work
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except (OSError, AttributeError):
            pass
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def bytes(self) -> int:
        """Return the largest resident set size since creation, in bytes."""
        try:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError):
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * 1024 if os.uname().sysname == "Linux" else peak


def resident_bytes() -> int:
    """Return the current resident set size of this process, in bytes."""
    return int(psutil.Process().memory_info().rss)


def parse_bytes(text: str) -> int:
    """Parse a memory size: "3GiB", "2.5 G", "800M", or a number of bytes.

    Raises:
        ConfigError: if the text is not a memory size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(|k|[KMGT]i|[MGT])B?\s*", text)
    if match is None:
        raise ConfigError(f"{text!r} is not a memory size; write for example 3GiB or 800M")
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(count: float) -> str:
    """Format a number of bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
