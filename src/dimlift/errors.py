"""Every error dimlift raises on purpose. Each says what was found, what was wanted, and the way out.

DimliftError
├── ShapeError      a tensor or volume does not have the axes or sizes asked for
├── PlanError       a DepthPlan that does not fit, noticed before any weight is touched
├── CannotLift      a 2D layer or network has no known 3D counterpart
├── WeightsError    weights do not fit the network they were meant for
├── CannotExport    a network cannot be written in another format
├── UnknownName     a name is not in a table of choices
├── ConfigError     a configuration cannot be read
├── DataError       a file or a dataset cannot be used as it is
│   ├── DamagedFile       truncated, bit-flipped or not what its name says
│   └── GeometryMismatch  image and label do not lie on the same grid
├── RunError        a run cannot start or go on (folder in use, loss not finite, ...)
└── Stopped         somebody asked the run to stop; its state is on disk, and it can go on
"""

import difflib
from collections.abc import Iterable


class DimliftError(Exception):
    """Base of all errors raised on purpose. The command line prints them without a traceback, exit code 2."""


class ShapeError(DimliftError, ValueError):
    """A tensor or volume does not have the axes or sizes asked for."""


class PlanError(DimliftError, ValueError):
    """A DepthPlan does not fit the network or itself."""


class CannotLift(DimliftError, TypeError):
    """A 2D layer or network has no known 3D counterpart."""


class WeightsError(DimliftError, ValueError):
    """Weights do not fit the network they were meant for."""


class ConfigError(DimliftError, ValueError):
    """A configuration cannot be read."""


class DataError(DimliftError, ValueError):
    """A file or a dataset cannot be used as it is."""


class DamagedFile(DataError):
    """A file is truncated, bit-flipped, or not what its name says."""


class GeometryMismatch(DataError):
    """An image and its label do not lie on the same grid."""


class RunError(DimliftError, RuntimeError):
    """A run cannot start or go on."""


class Stopped(DimliftError):
    """Somebody asked the run to stop; its state is on disk, and the same command goes on with it."""


class CannotExport(DimliftError, RuntimeError):
    """A network cannot be written in another format, or does not answer the same there."""


class UnknownName(DimliftError, KeyError):
    """A name is not in a table of choices; the message lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(name, choices, n=5, cutoff=0.4)
        if len(choices) <= 12:
            hint = f"choose one of: {', '.join(choices)}"
        else:
            hint = f"nearest: {', '.join(near)}" if near else f"there are {len(choices)}, for example {choices[0]}"
        self.message = f"unknown {kind} {name!r}; {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return self.message
