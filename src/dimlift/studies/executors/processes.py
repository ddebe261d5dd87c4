"""Cells in processes of this machine, some at once. A cell that is killed takes nobody with it."""

import ctypes
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Generator
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.studies.executors.job import DONE, STOPPED, Machines, Task, work

PATIENCE = 60.0
"""Seconds a cell has to save its state when the study is stopped."""
_PARENT_DEATH_SIGNAL = 1
_STOPPED_CODE = 75
_REFUSED_CODE = 2


def processes(at_once: int) -> Machines:
    """Run that many cells side by side."""
    return partial(_run, at_once=at_once)


def _run(tasks: list[Task], resources: ResourcesSection, at_once: int) -> Generator[tuple[Task, str], None, None]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and the folder's lock
    waiting = deque(tasks)
    running: dict[Any, tuple[SpawnProcess, Task]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.popleft()
                process = context.Process(target=_child, args=(task.to_json(),), name=task.cell[:12])
                process.start()
                running[process.sentinel] = (process, task)
            for sentinel in wait(list(running)):
                process, task = running.pop(sentinel)
                process.join()
                yield task, _end_of(process.exitcode or 0)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(PATIENCE)
            process.kill()
            process.join()


def _end_of(code: int) -> str:
    if code == _STOPPED_CODE:
        return "it was asked to stop; start the same command again, it goes on from there"
    if code == -signal.SIGKILL:
        return "its process was killed; the system does so when memory runs out: run fewer at once (--jobs)"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return DONE if code == 0 else f"its process ended with code {code}; what it said stands above"


def _child(text: str) -> None:
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    end = work(text)
    if end not in (DONE, STOPPED):
        sys.stderr.write(end + "\n")
    sys.exit({DONE: 0, STOPPED: _STOPPED_CODE}.get(end, _REFUSED_CODE))
