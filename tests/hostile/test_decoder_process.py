"""A decoder that crashes, hangs or grows ends its own process, and the file is named; the next file is read."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dimlift.data.io import decoder_process
from dimlift.data.io.decoder_process import DecoderProcess
from dimlift.errors import CorruptFileError, DataError

COMMAND = (sys.executable, "-B", str(Path(__file__).with_name("faulty_decoder.py")))


@pytest.fixture
def decoder():
    made = DecoderProcess(COMMAND, seconds=5)
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(bytes(range(10)))
    return tmp_path / "a.bin"


def require_sound(decoder: DecoderProcess, path: Path) -> None:
    array, value = decoder.decode("read", path)
    assert np.array_equal(array, np.arange(10, dtype=np.uint8).reshape(2, 5))
    assert value == [1, "two"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("crash", r"a\.bin: cannot be read: its decoder crashed \(signal 11\)"),
        ("fill_memory", r"a\.bin: cannot be read: its decoder needs more than 4 GiB of memory"),
        ("write_file", r"a\.bin: cannot be read: its decoder failed \(OSError: .*File too large"),
    ],
)
def test_decoder_faults_name_the_file(decoder: DecoderProcess, path: Path, task: str, message: str):
    require_sound(decoder, path)
    with pytest.raises(CorruptFileError, match=message):
        decoder.decode(task, path)
    require_sound(decoder, path)
    written = path.parent / "written"
    assert not written.exists() or written.stat().st_size == 0


def test_decoder_that_hangs_is_ended(path: Path):
    decoder = DecoderProcess(COMMAND, seconds=5)
    require_sound(decoder, path)
    decoder._seconds = 0.2
    began = time.monotonic()
    with pytest.raises(CorruptFileError, match=r"a\.bin: cannot be read: its decoder took more than 0\.2 s"):
        decoder.decode("hang", path)
    assert time.monotonic() - began < 5
    decoder._seconds = 5
    require_sound(decoder, path)
    decoder.close()


def test_decoder_output_is_not_confused_by_text_of_a_library(decoder: DecoderProcess, path: Path):
    (array,) = decoder.decode("print_text", path)
    assert np.array_equal(array, np.zeros(3))


def test_one_process_serves_all_calls_and_ends_with_its_owner(decoder: DecoderProcess, path: Path):
    threads = [threading.Thread(target=require_sound, args=(decoder, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = decoder._process
    require_sound(decoder, path)
    assert decoder._process is first
    first.stdin.close()  # what happens when the owner ends
    assert first.wait(timeout=5) == 0


def test_killed_process_is_started_again(decoder: DecoderProcess, path: Path):
    require_sound(decoder, path)
    os.kill(decoder._process.pid, signal.SIGKILL)
    decoder._process.wait()
    require_sound(decoder, path)


def test_missing_program_is_stated(path: Path):
    with pytest.raises(DataError, match="the process of its decoder could not be started"):
        DecoderProcess(("/nowhere/python",)).decode("read", path)


def test_fork_has_a_decoder_process_of_its_own():
    """A lock held by another thread of the parent would never be released in the fork."""
    shared = decoder_process._shared
    with shared._lock:
        child = os.fork()
        if not child:
            os._exit(0 if decoder_process._shared is not shared and not decoder_process._shared._lock.locked() else 1)
    assert os.waitpid(child, 0)[1] == 0
