"""What the record of every cell begins with: which cell it is, and what its numbers were computed with."""

import contextlib
import platform
from importlib import metadata
from typing import Any, Literal

from dimlift.records.record import Record
from dimlift.studies.run_config import TrainConfig


def cell_record(
    config: TrainConfig,
    cell: str,
    status: Literal["finished", "failed"],
    *,
    steps: int = 0,
    seconds: float = 0.0,
    peak_bytes: int = 0,
    **found: Any,
) -> Record:
    """The record of a cell; nothing was trained for it unless `steps` say so.

    Args:
        config: of the cell.
        cell: its name, `config.cell(...)`.
        status: whether it came to its end.
        steps: training steps.
        seconds: they took, feature extraction included.
        peak_bytes: largest resident memory.
        found: the other fields of `Record`.
    """
    return Record(
        cell=cell,
        arm=config.name,
        fraction=float(config.fraction),
        fold=-1 if config.fold is None else config.fold,
        seed=config.seed,
        steps=steps,
        seconds=seconds,
        peak_bytes=peak_bytes,
        versions=versions(),
        status=status,
        **found,
    )


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    packages = ("dimlift", "torch", "monai", "timm", "lightning", "numpy")
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
