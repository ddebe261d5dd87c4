"""How many threads torch may use: settled before torch is imported, so the command line does it first of all."""

import os
from collections.abc import MutableMapping

import psutil


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give torch one thread for each physical core this process may run on, and let idle threads sleep.

    Threads that wait actively collapse as soon as another process is busy on the same cores. What the user has
    set already (`OMP_NUM_THREADS`, `OMP_WAIT_POLICY`) stays.
    """
    allowed = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or allowed
    environment.setdefault("OMP_NUM_THREADS", str(max(1, min(allowed, physical))))
    environment.setdefault("OMP_WAIT_POLICY", "passive")
