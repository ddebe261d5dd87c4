"""A decoder process whose tasks do what a hostile file can make a decoder do; started by `test_decoder_process.py`."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dimlift.data.io.decoder_main import serve


def read(path: Path) -> Iterator[np.ndarray]:
    yield np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(2, -1)
    yield [1, "two"]


def crash(path: Path) -> Iterator[np.ndarray]:
    yield np.zeros(3)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: Path) -> Iterator[np.ndarray]:
    time.sleep(60)
    yield np.zeros(3)


def fill_memory(path: Path) -> Iterator[np.ndarray]:
    yield np.ones(8 << 30, dtype=np.uint8)


def write_file(path: Path) -> Iterator[np.ndarray]:
    (path.parent / "written").write_bytes(b"x" * 10)
    yield np.zeros(3)


def print_text(path: Path) -> Iterator[np.ndarray]:
    os.write(1, b"text of a library\n")
    yield np.zeros(3)


if __name__ == "__main__":
    serve(
        {
            task.__name__: f"faulty_decoder:{task.__name__}"
            for task in (read, crash, hang, fill_memory, write_file, print_text)
        }
    )
