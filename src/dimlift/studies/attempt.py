"""One job of a study: execute a run under a lock; an error becomes a record with status "failed".

`attempts/<run_id>` in the study folder is the lock of a run, with one line per attempt. If two machines receive the
same run (one was considered lost), they execute it one after the other, and the second one finds the record of the
first.
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
from dimlift.errors import DimliftError, RunError, RunInterrupted
from dimlift.methods.baselines.external import ExternalConfig
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.own_file import open_own_file
from dimlift.records.record import RunRecord
from dimlift.studies.run import RunPaths, execute_run, finished_record
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import make_run_record
from dimlift.studies.score_external import score_external_run


def run_job(config: TrainConfig, dataset: Dataset, out: Path, progress: Progress = no_progress) -> RunRecord:
    """Execute one run of a study, or return its record; an error becomes a failed record.

    Raises:
        RunError: if the file system of `out` does not support locks.
        RunInterrupted: on a signal; the next attempt resumes from the checkpoint.
    """
    run_id = config.run_id(dataset.manifest_hash())
    paths = run_paths(run_id, out)
    with _job_lock(out / "attempts" / run_id, paths):
        try:
            if isinstance(config.arm, ExternalConfig):
                return score_external_run(config, config.arm, dataset, paths, progress)
            return execute_run(config, dataset, paths, progress)
        except RunInterrupted:
            raise
        except (DimliftError, RuntimeError, ValueError, MemoryError) as error:
            reason = str(error) if isinstance(error, DimliftError) else f"{type(error).__name__}: {error}"
            progress(Event("failed", config.name, 1.0, message=reason))
            return write_failed_record(config, run_id, reason, out)


def run_paths(run_id: str, out: Path) -> RunPaths:
    """Return the output folders of a run of a study."""
    return RunPaths(
        records=out / "records",
        weights=out / "weights" / run_id,
        predictions=out / "predictions" / run_id,
        checkpoints=out / "checkpoints" / run_id,
        cache=out / "cache",
    )


def write_failed_record(config: TrainConfig, run_id: str, reason: str, out: Path) -> RunRecord:
    """Write and return the record of a failed run."""
    record = make_run_record(config, run_id, "failed", extra={"reason": reason})
    record.save(run_paths(run_id, out).records)
    return record


@contextmanager
def _job_lock(path: Path, paths: RunPaths) -> Iterator[None]:
    """Wait for the lock of a run and hold it; the operating system releases it when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_own_file(path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise RunError(
                f"the file system of {path.parent} does not support locks ({error}), so two machines could execute the "
                "same run; mount it with locks (NFS 4, or NFS 3 with lockd), or choose another --out"
            ) from error
        if finished_record(paths, path.name) is None:
            attempt = {"host": platform.node(), "process": os.getpid(), "started": round(time.time(), 3)}
            lock.write(json.dumps(attempt) + "\n")
            lock.flush()
        yield
