"""Executor for a Ray cluster: one task per run, with its GPUs, CPUs and memory; runs of a lost node are repeated."""

import logging
import os
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.errors import RunError
from dimlift.studies.executors.job import INTERRUPTED, Executor, Job
from dimlift.training.memory import format_bytes, parse_bytes

CLIENT = "ray://"
CONNECT_TIMEOUT = 10.0
"""Seconds a cluster has to accept a connection."""
POLL_INTERVAL = 1.0
"""Seconds between two checks for finished tasks; signals are handled in between."""

_CONNECTION_HINT = (
    "check the head machine with `ray status`, start it with `ray start --head`, and pass its client port "
    "(`--executor ray://HOST:10001`). Finished runs are kept"
)


def ray_executor(address: str = "") -> Executor:
    """Return an executor that runs jobs on a Ray cluster.

    Args:
        address: "ray://HOST:10001" (Ray's client port), or "HOST:6379" on a machine of the cluster. If empty: the one
            in RAY_ADDRESS, the cluster this machine belongs to, or a new one on this machine.
    """
    return partial(_execute, address=address)


def _execute(jobs: list[Job], resources: ResourcesSection, address: str) -> Generator[tuple[Job, str], None, None]:
    ray = _connect(address)
    waiting: dict[Any, Job] = {}
    try:
        options = _task_options(ray, resources)
        remote = ray.remote(**options, max_retries=resources.retries)(_remote_function())
        retries = dict.fromkeys((job.run_id for job in jobs), resources.retries)
        waiting = {remote.options(name=f"{j.config.name} {j.run_id[:12]}").remote(j.to_json()): j for j in jobs}
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=POLL_INTERVAL)
            for reference in ready:
                job = waiting.pop(reference)
                kind, result = _result_of(ray, reference)
                if kind == "not installed":
                    raise RunError(
                        f"{result}; install it on every machine of the cluster, in the environment of `ray start`, "
                        "then start the same command again. Finished runs are kept"
                    )
                if result == INTERRUPTED and retries[job.run_id] > 0:
                    retries[job.run_id] -= 1
                    waiting[remote.remote(job.to_json())] = job
                else:
                    yield job, result
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _remote_function() -> Callable[[str], tuple[str, str]]:
    """Return the function that nodes execute. It is sent as source, so that a node without dimlift can report it."""

    def execute(text: str) -> tuple[str, str]:
        import platform

        try:
            from dimlift.studies.executors.job import run_job_json
        except ImportError as error:
            return "not installed", f"machine {platform.node()} cannot import dimlift ({error})"
        return "executed", run_job_json(text)

    return execute


def _result_of(ray: Any, reference: Any) -> tuple[str, str]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        detail = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]
        return "lost", f"{type(error).__name__}: {detail}; start the same command again to run what is missing"


def _task_options(ray: Any, resources: ResourcesSection) -> dict[str, Any]:
    """Return the resource options of a task.

    Raises:
        RunError: if no node has enough resources; Ray would wait indefinitely.
    """
    memory = parse_bytes(resources.memory) if resources.memory else 0
    available = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    required = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": memory}
    if not any(all(node.get(kind, 0) >= count for kind, count in required.items()) for node in available):
        found = "; ".join(
            f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs, {format_bytes(n.get('memory', 0))}" for n in available
        )
        raise RunError(
            f"no machine of the cluster has the resources of one run ({resources.cpus:g} CPUs, "
            f"{resources.gpus:g} GPUs, {format_bytes(memory)}); available: {found}. Lower `resources`, or add machines"
        )
    return {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "memory": memory}


def _connect(address: str) -> Any:
    """Import Ray and connect to a cluster.

    Raises:
        RunError: if Ray is not installed, or the cluster does not respond.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "auto", "local"):
        _require_connection(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RunError("the executor ray needs Ray: pip install 'dimlift[ray]'") from error
    try:
        ray.init(address=address or None, include_dashboard=None if address else False, log_to_driver=False,
                 logging_level=logging.ERROR, configure_logging=True)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"Ray does not start or respond ({str(error).splitlines()[0]}); {_CONNECTION_HINT}") from error
    return ray


def _require_connection(address: str) -> None:
    """Check that a cluster accepts connections; Ray itself would retry for minutes.

    Raises:
        RunError: if it does not.
    """
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        raise RunError(f"{address!r} is not the address of a Ray cluster; write --executor ray://HOST:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"no Ray cluster responds at {address} ({error}); {_CONNECTION_HINT}") from error
