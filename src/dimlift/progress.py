"""What a run says while it goes on. The command line draws bars from it; nothing here draws."""

from dataclasses import dataclass
from typing import Literal, Protocol

Stage = Literal["check", "read", "features", "train", "validate", "predict", "skip", "failed", "done"]


@dataclass(frozen=True)
class Event:
    """One step of the way.

    Attributes:
        stage: what is being done.
        arm: name of the arm, empty where no arm is concerned.
        share: how much of this stage is done, 0 to 1.
        step: optimiser steps taken.
        loss: mean training loss since the last event; None outside training.
        seconds_left: estimate for this stage; None before one can be made.
        cell: number of the cell in the study, counted from 1.
        cells: how many the study has.
        message: anything a person should read.
    """

    stage: Stage
    arm: str = ""
    share: float = 0.0
    step: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    cell: int = 1
    cells: int = 1
    message: str = ""


class Progress(Protocol):
    """Anything that wants to hear of events."""

    def __call__(self, event: Event) -> None:
        """Called about a hundred times a stage; must return quickly."""


def silent(event: Event) -> None:
    """Hear and say nothing."""
