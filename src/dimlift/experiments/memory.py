"""The largest resident memory of a stretch of work, in this process."""

import ctypes
import gc
import os
import resource
from pathlib import Path


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
