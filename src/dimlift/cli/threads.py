"""Default number of torch threads, set before torch is imported."""

import os
from collections.abc import MutableMapping

import psutil


def set_thread_defaults(environment: MutableMapping[str, str] = os.environ) -> None:
    """Use one torch thread per available physical core, and passive waiting.

    Active waiting degrades performance severely when another process uses the same cores. Variables that are already
    set (`OMP_NUM_THREADS`, `OMP_WAIT_POLICY`) are kept.
    """
    allowed = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or allowed
    environment.setdefault("OMP_NUM_THREADS", str(max(1, min(allowed, physical))))
    environment.setdefault("OMP_WAIT_POLICY", "passive")
