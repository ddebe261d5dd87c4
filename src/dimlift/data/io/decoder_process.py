"""A process for decoders written in C, so that a foreign file that crashes one ends that process and not the caller.

The process starts with the first file that needs it (about 0.2 s), is kept for the next ones, and ends with the caller.
It has limits on memory, on time per message and on writing files. `decoder_main` is its other side.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError

MEMORY_BYTES = 4 << 30
"""Memory a decoder may use beyond that of its start."""
SECONDS = 120
"""Time a decoder may take for one frame."""

_COMMAND = (sys.executable, "-P", "-B", "-m", "dimlift.data.io.decoder_main")
_FIX = "export or copy it again from its source, or remove it"


class DecoderProcess:
    """One process, started on first use and again after a crash. Calls from several threads are served in turn.

    Args:
        command: the program, which serves `decoder_main.serve`.
        seconds: time limit for one message.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, seconds: float = SECONDS) -> None:
        self._command, self._seconds = command, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def decode(self, task: str, path: Path, **options: Any) -> list[Any]:
        """Run a task of `decoder_main.TASKS` on a file and return what it yields: arrays and JSON values.

        Raises:
            CorruptFileError: if the decoder refuses the file, crashes, or exceeds a limit.
            DataError: if the decoder states another reason, or its process cannot be started.
        """
        with self._lock:
            try:
                return self._decode(task, path, options)
            except BaseException as fault:
                if not isinstance(fault, DataError):
                    self.close()  # what it still writes belongs to no request
                raise

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]

    def _decode(self, task: str, path: Path, options: dict[str, Any]) -> list[Any]:
        request = json.dumps({"task": task, "path": str(path.absolute()), **options}).encode() + b"\n"
        found: list[Any] = []
        try:
            process = self._started()
            process.stdin.write(request)  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            while True:
                message = json.loads(self._read_line(process))
                if "end" in message:
                    return found
                if "message" in message:
                    kind = CorruptFileError if message["corrupt"] else DataError
                    raise Issue(str(path), "error", message["message"], message["fix"]).as_error(kind)
                if "dtype" in message:
                    found.append(self._read_array(process, message))
                elif "value" in message:
                    found.append(message["value"])
        except (OSError, EOFError, TimeoutError) as fault:
            raise self._failed(path, fault) from fault

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # ended since the last file, which is no fault of the next one
        if self._process is None:
            paths = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [*self._command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=environment,
            )  # fmt: skip
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):  # the lines are short, and arrays follow them
            self._read_into(process, piece := memoryview(bytearray(1)))
            line += piece
        return bytes(line)

    def _read_array(self, process: subprocess.Popen[bytes], message: dict[str, Any]) -> Any:
        dtype, shape = np.dtype(message["dtype"]), tuple(message["shape"])
        if dtype.kind not in "iufb" or int(np.prod([float(size) for size in shape])) * dtype.itemsize > MEMORY_BYTES:
            raise EOFError
        array = np.empty(shape, dtype=dtype)
        self._read_into(process, memoryview(array.reshape(-1).view(np.uint8).data))
        return array

    def _read_into(self, process: subprocess.Popen[bytes], target: memoryview) -> None:
        descriptor = process.stdout.fileno()  # type: ignore[union-attr]
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        end, filled = time.monotonic() + self._seconds, 0
        while filled < len(target):
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError
            count = os.readv(descriptor, [target[filled:]])
            if not count:
                raise EOFError
            filled += count

    def _failed(self, path: Path, fault: BaseException) -> DataError:
        """Return the error for a process that ended or hangs, and end it."""
        process = self._process
        if process is None:
            message = f"cannot be read: the process of its decoder could not be started ({fault})"
            return Issue(str(path), "error", message, "free some memory").as_error()
        code = None
        if not isinstance(fault, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=5)
        self.close()
        if code is None or code == -signal.SIGXCPU:
            message = f"cannot be read: its decoder took more than {self._seconds:g} s"
        elif code < 0:
            message = f"cannot be read: its decoder crashed (signal {-code})"
        else:
            message = f"cannot be read: its decoder ended (exit status {code})"
        return Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)


_shared = DecoderProcess()


def decode_in_process(task: str, path: Path, **options: Any) -> list[Any]:
    """Run `DecoderProcess.decode` in the decoder process of this process."""
    return _shared.decode(task, path, **options)


def _forget() -> None:
    """A fork has a decoder process of its own; a lock that another thread held would stay locked."""
    global _shared
    _shared = DecoderProcess()


os.register_at_fork(after_in_child=_forget)
