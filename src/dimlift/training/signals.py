"""Stopping on signals: Ctrl-C, and SIGTERM and SIGUSR1, which batch systems send before they reclaim a machine.

During training a signal is only recorded, since a checkpoint within a step would be inconsistent; the loop saves after
the step and stops. A second Ctrl-C stops at once, without saving. Elsewhere the run stops immediately: files are
written atomically, and the same command resumes.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dimlift.errors import RunInterrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class _Pending:
    """State of deferred signals."""

    deferring = False
    name = ""


def pending_signal() -> str:
    """Return the name of the signal received since `defer_signals` was entered; empty if there was none."""
    return _Pending.name


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Raise `RunInterrupted` on signals inside the block; without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[signal.Signals, Any] = {each: signal.signal(each, _handle) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Record signals inside the block instead of raising; query them with `pending_signal`."""
    _Pending.deferring, _Pending.name = True, ""
    try:
        yield
    finally:
        _Pending.deferring = False


def _handle(number: int, _frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    if _Pending.deferring and name == _Pending.name == "SIGINT":
        raise KeyboardInterrupt
    if _Pending.deferring:
        _Pending.name = name
    else:
        raise RunInterrupted(f"stopped by {name}; start the same command again to resume", name)
