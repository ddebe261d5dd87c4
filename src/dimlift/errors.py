"""Exceptions raised by dimlift. Every message states what was found, what is expected and what to do.

DimliftError
├── ShapeError        a tensor or volume has the wrong axes or sizes
├── PlanError         a DepthPlan or another option does not fit the network
├── LiftError         a 2D layer or network has no known 3D counterpart
├── WeightsError      weights do not fit the network
├── ExportError       a network cannot be exported to another format
├── UnknownNameError  a name is not registered
├── ConfigError       a configuration is invalid
├── DataError         a file or dataset cannot be used
│   ├── CorruptFileError       truncated, bit-flipped or of another format than its name states
│   └── GeometryMismatchError  image and label are on different grids
├── RunError          a run cannot start or continue (folder in use, loss not finite, ...)
└── RunInterrupted    a signal stopped the run; its checkpoint is on disk and the run can be resumed
"""

import difflib
from collections.abc import Iterable


class DimliftError(Exception):
    """Base class of all dimlift errors. The command line prints them without a traceback and exits with code 2."""


class ShapeError(DimliftError, ValueError):
    """A tensor or volume has the wrong axes or sizes."""


class PlanError(DimliftError, ValueError):
    """A DepthPlan or another option of lifting does not fit the network, or a package it needs is not installed."""


class LiftError(DimliftError, TypeError):
    """A 2D layer or network has no known 3D counterpart."""


class WeightsError(DimliftError, ValueError):
    """Weights do not fit the network."""


class ConfigError(DimliftError, ValueError):
    """A configuration is invalid."""


class DataError(DimliftError, ValueError):
    """A file or dataset cannot be used."""


class CorruptFileError(DataError):
    """A file is truncated, bit-flipped, or of another format than its name states."""


class GeometryMismatchError(DataError):
    """An image and its label are on different grids."""


class RunError(DimliftError, RuntimeError):
    """A run cannot start or continue."""


class RunInterrupted(DimliftError):
    """A signal stopped the run. Its checkpoint is on disk; the same command resumes it.

    Attributes:
        signal_name: "SIGTERM", ...; empty if another process of the run received it.
    """

    def __init__(self, message: str, signal_name: str = "") -> None:
        super().__init__(message)
        self.signal_name = signal_name


class ExportError(DimliftError, RuntimeError):
    """A network cannot be exported to another format, or its outputs differ after export."""


class UnknownNameError(DimliftError, KeyError):
    """A name is not registered. The message lists the registered names, or the closest ones if there are many."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(name, choices, n=5, cutoff=0.4)
        if len(choices) <= 12:
            hint = f"choose one of: {', '.join(choices)}"
        else:
            hint = f"nearest: {', '.join(near)}" if near else f"there are {len(choices)}, for example {choices[0]}"
        self.message = f"unknown {kind} {name!r}; {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError.__str__ would add quotes
        return self.message
