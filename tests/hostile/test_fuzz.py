"""Mutated files are read or rejected with a DimliftError, in a fork: a crash is reported with the input that did it."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import fuzz_in_process, recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

EXAMPLES = 40

FAST = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@st.composite
def mutants(draw, seeds):
    """Return a seed file with up to four mutations, more of them in the header."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, len(content)))
        if draw(st.booleans()):
            position = min(position, draw(st.integers(0, 120)))
        kind = draw(st.sampled_from(["change", "remove", "insert", "cut", "repeat"]))
        some = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"{", b"[", b'"', b": ", b"\n"]))
        if kind == "change":
            content[position : position + len(some)] = some
        elif kind == "remove":
            del content[position : position + len(some)]
        elif kind == "insert":
            content[position:position] = some
        elif kind == "cut":
            del content[position:]
        else:
            content += content[position : position + 600]
    return bytes(content)


def run_in_fork(work: Callable[[], None], folder: Path) -> None:
    """Run `work` in a fork; fail with its traceback, or with the signal that ended it and the last input."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            (folder / "traceback").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        pytest.fail(f"the process was killed by signal {os.WTERMSIG(status)}; its input is {folder / 'input'}")
    assert status == 0, (folder / "traceback").read_text()


def fuzz_in_fork(name: str, folder: Path, rules: settings) -> None:
    target, seeds = TARGETS[name]
    target = recording(target, folder / "input")

    @rules
    @given(mutants(seeds))
    def run(content):
        target(content)

    run_in_fork(run, folder)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_rejected(name, tmp_path):
    fuzz_in_fork(name, tmp_path, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutated_files_are_read_or_rejected(name, tmp_path):
    fuzz_in_fork(name, tmp_path, settings(FAST, max_examples=1000))


def test_crash_in_fork_fails_with_the_input(tmp_path):
    """Otherwise the tests above could not fail, or would end the test run."""

    def crash(content: bytes) -> None:
        os.kill(os.getpid(), 9)

    with pytest.raises(pytest.fail.Exception, match="signal 9; its input is"):
        run_in_fork(lambda: recording(crash, tmp_path / "input")(b"bad"), tmp_path)
    assert (tmp_path / "input").read_bytes() == b"bad"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_in_fork(lambda: print(1 / 0), tmp_path)


def test_crash_of_a_fuzzed_process_is_reported_with_its_input(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os, sys, pathlib; (pathlib.Path(sys.argv[3]).parent / 'input').write_bytes(b'bad');"
        "os.kill(os.getpid(), 11)"
    )
    failure = fuzz_in_process("a target", "-runs=1", [sys.executable, "-c", program])
    assert "a target: an input is neither read nor rejected (killed by signal 11); it is " in failure
    assert Path(failure.splitlines()[0].rpartition(" it is ")[2]).read_bytes() == b"bad"
    assert fuzz_in_process("a target", "-runs=1", [sys.executable, "-c", ""]) is None
