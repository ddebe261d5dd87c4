"""Records of runs: identification, cost and software versions."""

import contextlib
import platform
from importlib import metadata
from typing import Any, Literal

from dimlift.records.record import RunRecord
from dimlift.studies.run_config import TrainConfig


def make_run_record(
    config: TrainConfig,
    run_id: str,
    status: Literal["finished", "failed"],
    *,
    steps: int = 0,
    seconds: float = 0.0,
    peak_bytes: int = 0,
    **fields: Any,
) -> RunRecord:
    """Return the record of a run.

    Args:
        config: configuration of the run.
        run_id: `config.run_id(...)`.
        status: whether the run finished or failed.
        steps: number of training steps.
        seconds: training time, feature extraction included.
        peak_bytes: largest resident memory.
        fields: other fields of `RunRecord`.
    """
    return RunRecord(
        run_id=run_id,
        arm=config.name,
        train_fraction=config.train_size.fraction,
        train_count=config.train_size.count,
        fold=-1 if config.fold is None else config.fold,
        seed=config.seed,
        steps=steps,
        seconds=seconds,
        peak_bytes=peak_bytes,
        versions=versions(),
        status=status,
        **fields,
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the main packages."""
    found = {"python": platform.python_version()}
    for name in ("dimlift", "torch", "monai", "timm", "lightning", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
