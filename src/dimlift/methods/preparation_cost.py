"""Cost of what a method computes once before its first training step."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from dimlift.errors import ConfigError


@dataclass(frozen=True)
class PreparationCost:
    """Estimated cost of computing the features of several volumes once.

    Attributes:
        volumes: number of volumes.
        bytes: disk space.
        seconds: time on this machine, extrapolated from a few timed slices; it is part of the budget.
    """

    volumes: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"features of {self.volumes} volumes: about {self.bytes / 2**30:.2f} GiB on disk, "
            f"{self.seconds:.0f} s to extract"
        )

    def with_more(self, volumes: int) -> "PreparationCost":
        """Return the cost with further volumes of the mean size, for example those of the test."""
        factor = (self.volumes + volumes) / self.volumes if self.volumes else 1.0
        return PreparationCost(self.volumes + volumes, round(self.bytes * factor), self.seconds * factor)

    def obstacle(self, budget: float | None, cache: Path, share: float = 1.0) -> str:
        """Return why this is not affordable; empty if it is.

        Args:
            budget: seconds of training; None for a budget in steps.
            cache: folder the features are written to; what it holds already is counted as free.
            share: part of the budget that may be used.
        """
        if budget is not None and self.seconds > share * budget:
            part = "" if share == 1 else f"{share:.0%} of "
            return f"extraction takes about {self.seconds:.0f} s, more than {part}the {budget:g} s of training"
        free = free_bytes(cache)
        if self.bytes > free:
            return f"the features take {self.bytes / 2**30:.2f} GiB on disk, {free / 2**30:.2f} GiB are free at {cache}"
        return ""


def require_affordable(cost: PreparationCost | None, budget: float | None, cache: Path) -> None:
    """Check the cost before anything is computed.

    Raises:
        ConfigError: if extraction would use the whole budget, or the disk does not suffice.
    """
    if cost is not None and (obstacle := cost.obstacle(budget, cache)):
        raise ConfigError(
            f"{obstacle}; raise budget.seconds, lower the number of planes, stages or cache_channels of the arm, or "
            "choose another method"
        )


def free_bytes(folder: Path) -> int:
    """Return the free space of a folder that may not exist yet, with what it holds already."""
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free + held
