"""One cell, tried once by one process at a time wherever it runs; what stops it becomes its record.

`attempts/<cell>` in the study's folder is the lock of the cell, and keeps one line for each time it was begun. Two
machines that were both given a cell (one was thought lost) therefore work one after the other, and the second finds the
record of the first.
"""

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dimlift.data.case import Dataset
from dimlift.errors import DimliftError, RunError, Stopped
from dimlift.methods.baselines.external import ExternalArm
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record
from dimlift.studies.run import Places, finished_record, run_cell
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import cell_record
from dimlift.studies.score_external import run_external


def attempt(config: TrainConfig, dataset: Dataset, out: Path, progress: Progress = silent) -> Record:
    """Run a cell of a study, or give back its record; a failure becomes its record.

    Raises:
        RunError: if the storage of `out` takes no locks.
        Stopped: when asked to by a signal; the next attempt goes on from the checkpoint.
    """
    name = config.cell(dataset.manifest_hash())
    places = places_of(name, out)
    with _alone(out / "attempts" / name, places):
        try:
            if isinstance(config.arm, ExternalArm):
                return run_external(config, config.arm, dataset, places, progress)
            return run_cell(config, dataset, places, progress)
        except Stopped:
            raise
        except (DimliftError, RuntimeError, ValueError, MemoryError) as fault:
            reason = str(fault) if isinstance(fault, DimliftError) else f"{type(fault).__name__}: {fault}"
            progress(Event("failed", config.name, 1.0, message=reason))
            return failed(config, name, reason, out)


def places_of(cell: str, out: Path) -> Places:
    """Where a cell of a study leaves what it makes."""
    return Places(
        records=out / "records",
        weights=out / "weights" / cell,
        predictions=out / "predictions" / cell,
        checkpoints=out / "checkpoints" / cell,
        cache=out / "cache",
    )


def failed(config: TrainConfig, cell: str, reason: str, out: Path) -> Record:
    """Write the record of a cell that did not come to its end."""
    record = cell_record(config, cell, "failed", extra={"reason": reason})
    record.save(places_of(cell, out).records)
    return record


@contextmanager
def _alone(path: Path, places: Places) -> Iterator[None]:
    """Wait until nobody else is at the cell; the lock ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as fault:
            raise RunError(
                f"the storage of {path.parent} takes no locks ({fault}), so two machines could run one cell; "
                "mount it with them (NFS 4, or 3 with lockd), or choose another --out"
            ) from fault
        if finished_record(places, path.name) is None:
            began = {"host": platform.node(), "process": os.getpid(), "began": round(time.time(), 3)}
            lock.write(json.dumps(began) + "\n")
            lock.flush()
        yield
