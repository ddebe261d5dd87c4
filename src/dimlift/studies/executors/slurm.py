"""Executor for SLURM: one job array per study, submitted through submitit.

submitit stores the jobs in its own files under `slurm/` in the study folder; dimlift never reads them.
"""

import shutil
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.errors import RunError
from dimlift.studies.executors.job import INTERRUPTED, Executor, Job, run_job_json
from dimlift.training.memory import parse_bytes


def slurm_executor(max_jobs: int = 256, *, scheduler: str = "slurm", poll_interval: float = 10.0) -> Executor:
    """Return an executor that runs jobs as tasks of a job array.

    Args:
        max_jobs: tasks of the array that run at the same time.
        scheduler: "slurm", or another executor of submitit ("local" runs the same jobs as processes on this machine).
        poll_interval: seconds between two checks of the jobs.
    """
    return partial(_execute, max_jobs=max_jobs, scheduler=scheduler, poll_interval=poll_interval)


def _execute(
    jobs: list[Job], resources: ResourcesSection, max_jobs: int, scheduler: str, poll_interval: float
) -> Generator[tuple[Job, str], None, None]:
    if not jobs:
        return
    executor = _make_submitit_executor(jobs[0].out / "slurm", scheduler)
    executor.update_parameters(**_job_options(resources, max_jobs, scheduler))
    retries = dict.fromkeys((job.run_id for job in jobs), resources.retries)
    waiting: dict[Any, Job] = _submit(executor, jobs)
    try:
        while waiting:
            repeated = []
            for handle in [handle for handle in waiting if handle.done()]:
                job = waiting.pop(handle)
                result = _result_of(handle)
                if result == INTERRUPTED and retries[job.run_id] > 0:
                    retries[job.run_id] -= 1
                    repeated.append(job)
                else:
                    yield job, result
            waiting |= _submit(executor, repeated)
            time.sleep(poll_interval if waiting else 0)
    finally:
        for handle in waiting:
            handle.cancel()


def _submit(executor: Any, jobs: list[Job]) -> dict[Any, Job]:
    if not jobs:
        return {}
    import submitit

    try:
        handles = executor.map_array(run_job_json, [job.to_json() for job in jobs])
    except submitit.core.utils.FailedJobError as error:
        raise RunError(
            f"sbatch rejected the jobs: {str(error).strip() or 'no message'}; check `resources` of the study "
            "(partition, memory, minutes), then start the same command again"
        ) from error
    return dict(zip(handles, jobs, strict=True))


def _result_of(handle: Any) -> str:
    import submitit

    try:
        return handle.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        known = handle.state not in ("FINISHED", "UNKNOWN")
        state = f"SLURM state {handle.state}" if known else str(error).splitlines()[0]
        return f"job {handle.job_id} ended without a result ({state}); its log is {handle.paths.stderr}"


def _job_options(resources: ResourcesSection, max_jobs: int, scheduler: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "name": "dimlift",
        "timeout_min": resources.minutes,
        "cpus_per_task": max(1, round(resources.cpus)),
        "gpus_per_node": round(resources.gpus),
    }
    if resources.memory:
        options["mem_gb"] = parse_bytes(resources.memory) / 2**30
    if scheduler == "slurm":
        options["slurm_array_parallelism"] = max_jobs
        if resources.partition:
            options["slurm_partition"] = resources.partition
    return options


def _make_submitit_executor(folder: Path, scheduler: str) -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise RunError("the executor slurm needs submitit: pip install 'dimlift[slurm]'") from error
    if scheduler == "slurm" and shutil.which("sbatch") is None:
        raise RunError("sbatch was not found; start the study on a login node of the cluster, or use --executor local")
    return submitit.AutoExecutor(folder=folder, cluster=scheduler)
