"""A log of a run: messages, and a line a minute, for processes without a terminal."""

import os
import time
from pathlib import Path

from dimlift.progress import Event, Progress, no_progress
from dimlift.records.own_file import open_own_file


class LogFile:
    """Progress callback that writes messages at once, and a line a minute in between.

    Args:
        path: the log; lines are appended.
        then: the next callback.
        every: seconds between two lines without a message.
    """

    def __init__(self, path: Path, then: Progress = no_progress, every: float = 60.0) -> None:
        self.path, self.then, self.every = path, then, every
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Write a line where one is due."""
        self.then(event)
        now = time.monotonic()
        if event.message or now - self._last >= self.every:
            self._last = now
            loss = "" if event.loss is None else f", loss {event.loss:.4f}"
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            text = event.message or f"{event.stage} {event.fraction:.0%}, step {event.step}{loss}{left}"
            with os.fdopen(open_own_file(self.path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
