"""Choice of the executor by the value of `--executor`."""

from dimlift.errors import ConfigError
from dimlift.studies.executors.job import Executor
from dimlift.studies.executors.processes import process_executor
from dimlift.studies.executors.ray import CLIENT, ray_executor
from dimlift.studies.executors.slurm import slurm_executor


def make_executor(name: str = "local", max_jobs: int | None = None) -> Executor | None:
    """Return the executor of a study; None means this process, one run at a time.

    Args:
        name: "local", "ray", "ray://HOST:PORT" or "slurm".
        max_jobs: runs executed at the same time, locally or in a job array. On a Ray cluster the resources decide.

    Raises:
        ConfigError: for any other name, or a `max_jobs` that does not apply.
    """
    if max_jobs is not None and max_jobs < 1:
        raise ConfigError(f"--max-jobs is {max_jobs}; it must be at least 1")
    if name == "local":
        return None if max_jobs in (None, 1) else process_executor(max_jobs or 1)
    if name == "slurm":
        return slurm_executor() if max_jobs is None else slurm_executor(max_jobs)
    if name == "ray" or name.startswith(CLIENT):
        if max_jobs is not None:
            raise ConfigError(
                "--max-jobs applies to the executors local and slurm; on Ray the section `resources` decides how many "
                "runs are executed at the same time"
            )
        return ray_executor("" if name == "ray" else name)
    raise ConfigError(f"unknown --executor {name!r}; choose local, ray, ray://HOST:10001 or slurm")
