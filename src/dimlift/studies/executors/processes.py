"""Executor for local processes. A killed job does not affect the others."""

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
from dimlift.studies.executors.job import DONE, INTERRUPTED, Executor, Job, run_job_json

GRACE_PERIOD = 60.0
"""Seconds a job has for saving its state when the study is interrupted."""
_PR_SET_PDEATHSIG = 1
_EXIT_INTERRUPTED = 75
_EXIT_ERROR = 2


def process_executor(max_jobs: int) -> Executor:
    """Return an executor that runs up to `max_jobs` processes at a time."""
    return partial(_execute, max_jobs=max_jobs)


def _execute(jobs: list[Job], resources: ResourcesSection, max_jobs: int) -> Generator[tuple[Job, str], None, None]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and the folder's lock
    waiting = deque(jobs)
    running: dict[Any, tuple[SpawnProcess, Job]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max_jobs:
                job = waiting.popleft()
                process = context.Process(target=_child, args=(job.to_json(),), name=job.run_id[:12])
                process.start()
                running[process.sentinel] = (process, job)
            for sentinel in wait(list(running)):
                process, job = running.pop(sentinel)
                process.join()
                yield job, _error_of(process.exitcode or 0)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(GRACE_PERIOD)
            process.kill()
            process.join()


def _error_of(code: int) -> str:
    if code == _EXIT_INTERRUPTED:
        return "the run was interrupted; start the same command again to resume it"
    if code == -signal.SIGKILL:
        return "the process was killed, probably because memory ran out; lower --max-jobs"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return DONE if code == 0 else f"the process ended with code {code}; see its output above"


def _child(text: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    result = run_job_json(text)
    if result not in (DONE, INTERRUPTED):
        sys.stderr.write(result + "\n")
    sys.exit({DONE: 0, INTERRUPTED: _EXIT_INTERRUPTED}.get(result, _EXIT_ERROR))
