"""Batches made by other processes while the network is at work: the same batches, in the same order.

What a batch holds depends on its step alone, so it does not matter who makes it or when.
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

AHEAD = 2
"""Batches each worker has ready."""

_KILLED = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: (\w+)|exited unexpectedly)")
_PARENT_DEATH_SIGNAL = 1


@contextmanager
def prefetched(
    batch_at: Callable[[int], Batch],
    first: int,
    workers: int,
    cases_at: Callable[[int], Sequence[str]] | None = None,
) -> Iterator[Callable[[int], Batch]]:
    """Give a function to be called with `first`, `first + 1`, ... in this order.

    Args:
        batch_at: the batch of a step.
        workers: processes that make batches; 0 makes them here, when they are asked for.
        cases_at: names of the cases of a step, for messages.

    Raises:
        RunError: inside the block, if a worker fails, with its traceback, or if it is killed.
    """
    if workers == 0:
        yield batch_at
        return
    loader: DataLoader[Any] = DataLoader(
        _Steps(batch_at),
        sampler=_From(first),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=AHEAD,
        multiprocessing_context="fork",  # volumes are shared, not copied
        worker_init_fn=_settle,
    )
    batches, awaited = iter(loader), first

    def names() -> str:
        if cases_at is None:
            return ""
        found = [case for step in range(awaited, awaited + AHEAD * workers) for case in cases_at(step)]
        return f" (cases {', '.join(dict.fromkeys(found))})"

    def next_batch(step: int) -> Batch:
        nonlocal awaited
        awaited = step
        found = next(batches)
        if isinstance(found, _Failure):
            raise RunError(f"a worker failed at the batch of step {step}:\n{found.trace}")
        return found

    try:
        yield next_batch
    except (RuntimeError, OSError, EOFError) as fault:
        # torch raises the first wherever the program is when a worker dies; the others come of reading from a dead one
        ends, said = getattr(batches, "_workers", ()), str(fault)
        for worker in ends:
            try:
                worker.join(0.5)  # its end may be known a moment later than its silence
            except RuntimeError as later:  # wherever the program is: here, too
                said = f"{said}\n{later}"
        codes = [-(worker.exitcode or 0) for worker in ends]
        found = _KILLED.search(said)
        if found is None and not any(code > 0 for code in codes):
            raise
        name = (found and found[1]) or (signal.strsignal(max(codes)) if max(codes, default=0) > 0 else None)
        if name in (None, "Killed"):
            why = "the system does so when memory runs out: lower training.workers or training.batch_size"
        else:
            why = "set training.workers=0 to see what happens in it"
        raise RunError(
            f"a worker was killed by signal {name or 'unknown'} while it made the batch of step {awaited} "
            f"or one of the next {AHEAD * workers - 1}{names()}; {why}"
        ) from fault
    finally:
        batches._shutdown_workers()  # type: ignore[attr-defined]
        for worker in getattr(batches, "_workers", ()):
            if worker.is_alive():
                worker.kill()  # it ignores gentler signals, and the end of this program would wait for it


@dataclass
class _Failure:
    """What went wrong in a worker."""

    trace: str


class _Steps(Dataset[Any]):
    """Batches by step."""

    def __init__(self, batch_at: Callable[[int], Batch]) -> None:
        self._batch_at = batch_at

    def __getitem__(self, step: int) -> Any:
        try:
            return self._batch_at(step)
        except Exception:  # handed to the process that asked, which raises it
            return _Failure(traceback.format_exc().rstrip())


class _From:
    """The steps from one on, without end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return count(self._first)


def _as_it_is(batch: Any) -> Any:
    return batch


def _settle(_worker: int) -> None:
    """A worker leaves signals to its parent, and does not outlive it: it would keep the run's folder locked."""
    for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
