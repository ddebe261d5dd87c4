"""Prefetching: worker processes prepare batches while the network trains; same batches, same order.

The content of a batch depends on its step only, so it does not matter which process makes it, or when.
"""

import ctypes
import re
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch.utils.data import DataLoader, Dataset

from dimlift.batch import Batch
from dimlift.errors import RunError

PREFETCH_FACTOR = 2
"""Batches prepared per worker."""

_KILLED = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: (\w+)|exited unexpectedly)")
_PR_SET_PDEATHSIG = 1


@contextmanager
def prefetch_batches(
    batch_at: Callable[[int], Batch],
    first: int,
    num_workers: int,
    cases_at: Callable[[int], Sequence[str]] | None = None,
) -> Iterator[Callable[[int], Batch]]:
    """Provide a function that is called with `first`, `first + 1`, ... and returns the batch of each step.

    Args:
        batch_at: makes the batch of a step.
        first: first step.
        num_workers: number of worker processes; 0 makes batches in this process.
        cases_at: returns the case names of a step, for messages.

    Raises:
        RunError: inside the block, if a worker fails, with its traceback, or if it is killed.
    """
    if num_workers == 0:
        yield batch_at
        return
    loader: DataLoader[Any] = DataLoader(
        _Steps(batch_at),
        sampler=_StepsFrom(first),
        batch_size=None,
        collate_fn=_identity,
        num_workers=num_workers,
        prefetch_factor=PREFETCH_FACTOR,
        multiprocessing_context="fork",  # volumes are shared, not copied
        worker_init_fn=_init_worker,
    )
    batches, current = iter(loader), first

    def upcoming_cases() -> str:
        if cases_at is None:
            return ""
        steps = range(current, current + PREFETCH_FACTOR * num_workers)
        cases = [case for step in steps for case in cases_at(step)]
        return f" (cases {', '.join(dict.fromkeys(cases))})"

    def next_batch(step: int) -> Batch:
        nonlocal current
        current = step
        batch = next(batches)
        if isinstance(batch, _Failure):
            raise RunError(f"a worker failed at the batch of step {step}:\n{batch.trace}")
        return batch

    try:
        yield next_batch
    except (RuntimeError, OSError, EOFError) as fault:
        # torch raises RuntimeError from a signal handler, at any line, when a worker dies; the others come from
        # reading from a dead worker
        workers, message = getattr(batches, "_workers", ()), str(fault)
        for worker in workers:
            try:
                worker.join(0.5)  # its exit code may be known a moment later
            except RuntimeError as second:  # the signal handler may raise here too
                message = f"{message}\n{second}"
        codes = [-(worker.exitcode or 0) for worker in workers]
        killed = _KILLED.search(message)
        if killed is None and not any(code > 0 for code in codes):
            raise
        name = (killed and killed[1]) or (signal.strsignal(max(codes)) if max(codes, default=0) > 0 else None)
        if name in (None, "Killed"):
            fix = "the system kills processes when memory runs out: lower training.num_workers or training.batch_size"
        else:
            fix = "set training.num_workers=0 to see the error"
        raise RunError(
            f"a worker was killed by signal {name or 'unknown'} while it made the batch of step {current} "
            f"or one of the next {PREFETCH_FACTOR * num_workers - 1}{upcoming_cases()}; {fix}"
        ) from fault
    finally:
        batches._shutdown_workers()  # type: ignore[attr-defined]
        for worker in getattr(batches, "_workers", ()):
            if worker.is_alive():
                worker.kill()  # workers ignore gentler signals, and this program would wait for them at exit


@dataclass
class _Failure:
    """An exception in a worker."""

    trace: str


class _Steps(Dataset[Any]):
    """Batches by step."""

    def __init__(self, batch_at: Callable[[int], Batch]) -> None:
        self._batch_at = batch_at

    def __getitem__(self, step: int) -> Any:
        try:
            return self._batch_at(step)
        except Exception:  # passed to the main process, which raises it
            return _Failure(traceback.format_exc().rstrip())


class _StepsFrom:
    """Endless sampler of consecutive steps."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return count(self._first)


def _identity(batch: Any) -> Any:
    return batch


def _init_worker(_worker: int) -> None:
    """Ignore signals, which the main process handles, and die with it: a worker would keep the run folder locked."""
    for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
