"""From what `--on` says to whoever runs the cells."""

from dimlift.errors import ConfigError
from dimlift.studies.executors.job import Machines
from dimlift.studies.executors.processes import processes
from dimlift.studies.executors.ray import CLIENT, ray_cluster
from dimlift.studies.executors.slurm import slurm_array


def machines(on: str = "local", at_once: int | None = None) -> Machines | None:
    """Who runs the cells of a study; None for this very process, one cell after the other.

    Args:
        on: "local", "ray", "ray://HOST:PORT" or "slurm".
        at_once: cells side by side, here or in a job array; a Ray cluster takes as many as its resources allow.

    Raises:
        ConfigError: for any other place.
    """
    if at_once is not None and at_once < 1:
        raise ConfigError(f"--jobs is {at_once}; at least one cell has to run at a time")
    if on == "local":
        return None if at_once in (None, 1) else processes(at_once or 1)
    if on == "slurm":
        return slurm_array() if at_once is None else slurm_array(at_once)
    if on == "ray" or on.startswith(CLIENT):
        if at_once is not None:
            raise ConfigError("--jobs is for --on local and slurm; on Ray `resources` decides how many cells run")
        return ray_cluster("" if on == "ray" else on)
    raise ConfigError(f"--on {on!r} is no place to run cells; choose local, ray, ray://HOST:10001 or slurm")
