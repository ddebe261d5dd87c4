"""Stopping when asked: SIGTERM and SIGUSR1, as a batch system sends them before it takes a machine away.

While a training step runs the signal is only noted, since a checkpoint in the middle of one would be of no moment that
ever was; the loop saves after the step and ends. Anywhere else the run ends where it stands: whatever is written is
written in one piece, and the same command goes on from what is on disk.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dimlift.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class _Asked:
    """The signal that came while it was only to be noted, by name."""

    noting = False
    name = ""


def asked_to_stop() -> str:
    """The name of the signal that came since `noted` was entered; empty if none did."""
    return _Asked.name


@contextmanager
def heeded() -> Iterator[None]:
    """Inside the block the signals end the run by `Stopped`. Threads other than the main one cannot hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {each: signal.signal(each, _hear) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def noted() -> Iterator[None]:
    """Inside the block a signal is noted and nothing else; ask with `asked_to_stop`."""
    _Asked.noting, _Asked.name = True, ""
    try:
        yield
    finally:
        _Asked.noting = False


def _hear(number: int, _frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    if _Asked.noting:
        _Asked.name = name
    else:
        raise Stopped(f"stopped by {name}; start the same command again to go on from what is on disk")
