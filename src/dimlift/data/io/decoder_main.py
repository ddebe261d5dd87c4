"""The decoder process: reads requests from standard input and writes arrays to standard output.

`decoder_process` starts it as `python -m dimlift.data.io.decoder_main`.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.io.decoder_process import MEMORY_BYTES, SECONDS
from dimlift.data.issue import issue_from_error
from dimlift.errors import CorruptFileError, DataError

TASKS = {
    "dicom pixels": "dimlift.data.io.dicom.pixels:decode_pixels",
    "video frames": "dimlift.data.io.video_decoder:decode_frames",
    "video size": "dimlift.data.io.video_decoder:decode_size",
}
"""Generators by name: each receives a path and options, and yields arrays, JSON values, or None for progress."""


def serve(tasks: dict[str, str]) -> None:
    """Run requests until standard input ends."""
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the messages
    _set_limits()
    with os.fdopen(output, "wb") as stream:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            task, path = request.pop("task"), Path(request.pop("path"))
            for message, array in _messages(tasks[task], path, request):
                stream.write(json.dumps(message).encode() + b"\n")
                if array is not None:
                    stream.write(memoryview(array.reshape(-1).view(np.uint8)))
                stream.flush()


def _messages(task: str, path: Path, options: dict[str, Any]) -> Iterable[tuple[dict[str, Any], Any]]:
    _set_time_limit()
    try:
        module, _, name = task.partition(":")
        decode: Callable[..., Iterable[Any]] = getattr(importlib.import_module(module), name)
        for found in decode(path, **options):
            _set_time_limit()
            if found is None:
                yield {}, None
            elif isinstance(found, np.ndarray):
                array = np.ascontiguousarray(found)
                yield {"dtype": array.dtype.str, "shape": list(array.shape)}, array
            else:
                yield {"value": found}, None
        yield {"end": True}, None
    except DataError as fault:
        issue = issue_from_error(fault)
        corrupt = isinstance(fault, CorruptFileError)
        yield {"message": issue.message, "fix": issue.fix, "corrupt": corrupt}, None
    except MemoryError:
        message = f"cannot be read: its decoder needs more than {MEMORY_BYTES >> 30} GiB of memory"
        yield {"message": message, "fix": "scale it down, or split it", "corrupt": True}, None
    except Exception as fault:  # decoders raise errors of any kind
        message = f"cannot be read: its decoder failed ({type(fault).__name__}: {fault})"
        yield {"message": message, "fix": "export or copy it again from its source", "corrupt": True}, None


def _set_limits() -> None:
    """Bound memory, and forbid written bytes and core dumps."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY_BYTES)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)


def _set_time_limit() -> None:
    """Allow the processor time of one more message."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    serve(TASKS)
