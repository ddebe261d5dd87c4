"""Progress events of a run. Callers pass a callback; the command line draws progress bars from the events."""

from dataclasses import dataclass
from typing import Literal, Protocol

Stage = Literal["check", "read", "features", "train", "validate", "predict", "skip", "failed", "done"]


@dataclass(frozen=True)
class Event:
    """One progress report.

    Attributes:
        stage: what is being done.
        arm: name of the arm, empty outside a study.
        fraction: completed fraction of the stage, 0 to 1.
        step: optimizer steps taken.
        loss: mean training loss since the last event; None outside training.
        seconds_left: estimated time left in the stage; None while there is no estimate.
        run_index: index of the run in the study, counted from 1.
        num_runs: number of runs in the study.
        message: text to print.
    """

    stage: Stage
    arm: str = ""
    fraction: float = 0.0
    step: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    run_index: int = 1
    num_runs: int = 1
    message: str = ""


class Progress(Protocol):
    """Callback that receives progress events."""

    def __call__(self, event: Event) -> None:
        """Handle an event. Called about a hundred times per stage, so it must return quickly."""


def no_progress(event: Event) -> None:
    """Ignore the event; the default callback."""
