"""Cells as one job array of SLURM, through submitit.

submitit hands a job its work in files of its own under `slurm/` in the study's folder; dimlift reads none of them.
"""

import shutil
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.errors import RunError
from dimlift.studies.executors.job import STOPPED, Machines, Task, work
from dimlift.training.memory import bytes_of


def slurm_array(at_once: int = 256, *, scheduler: str = "slurm", pause: float = 10.0) -> Machines:
    """Run cells as tasks of a job array.

    Args:
        at_once: most tasks of the array that run together.
        scheduler: "slurm", or another executor of submitit ("local" runs the same jobs as processes here).
        pause: seconds between two looks at the jobs.
    """
    return partial(_run, at_once=at_once, scheduler=scheduler, pause=pause)


def _run(
    tasks: list[Task], resources: ResourcesSection, at_once: int, scheduler: str, pause: float
) -> Generator[tuple[Task, str], None, None]:
    if not tasks:
        return
    executor = _executor(tasks[0].out / "slurm", scheduler)
    executor.update_parameters(**_demand(resources, at_once, scheduler))
    again = dict.fromkeys((task.cell for task in tasks), resources.retries)
    waiting: dict[Any, Task] = _submit(executor, tasks)
    try:
        while waiting:
            repeated = []
            for job in [job for job in waiting if job.done()]:
                task = waiting.pop(job)
                end = _end_of(job)
                if end == STOPPED and again[task.cell] > 0:
                    again[task.cell] -= 1
                    repeated.append(task)
                else:
                    yield task, end
            waiting |= _submit(executor, repeated)
            time.sleep(pause if waiting else 0)
    finally:
        for job in waiting:
            job.cancel()


def _submit(executor: Any, tasks: list[Task]) -> dict[Any, Task]:
    if not tasks:
        return {}
    import submitit

    try:
        jobs = executor.map_array(work, [task.to_json() for task in tasks])
    except submitit.core.utils.FailedJobError as fault:
        raise RunError(
            f"sbatch took no job: {str(fault).strip() or 'it said nothing'}; look at `resources` in the study "
            "(partition, memory, minutes), then start the same command again"
        ) from fault
    return dict(zip(jobs, tasks, strict=True))


def _end_of(job: Any) -> str:
    import submitit

    try:
        return job.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as fault:
        state = f"SLURM says {job.state}" if job.state not in ("FINISHED", "UNKNOWN") else str(fault).splitlines()[0]
        return f"job {job.job_id} ended without a result ({state}); its log is {job.paths.stderr}"


def _demand(resources: ResourcesSection, at_once: int, scheduler: str) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "name": "dimlift",
        "timeout_min": resources.minutes,
        "cpus_per_task": max(1, round(resources.cpus)),
        "gpus_per_node": round(resources.gpus),
    }
    if resources.memory:
        wanted["mem_gb"] = bytes_of(resources.memory) / 2**30
    if scheduler == "slurm":
        wanted["slurm_array_parallelism"] = at_once
        if resources.partition:
            wanted["slurm_partition"] = resources.partition
    return wanted


def _executor(folder: Path, scheduler: str) -> Any:
    try:
        import submitit
    except ModuleNotFoundError as fault:
        raise RunError("studies on SLURM need submitit: pip install 'dimlift[slurm]'") from fault
    if scheduler == "slurm" and shutil.which("sbatch") is None:
        raise RunError("there is no sbatch here; start the study on a login node of the cluster, or with --on local")
    return submitit.AutoExecutor(folder=folder, cluster=scheduler)
