"""Cells as tasks of a Ray cluster, each with its GPUs, processors and memory; a lost node's cells run elsewhere."""

import logging
import os
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.errors import RunError
from dimlift.studies.executors.job import STOPPED, Machines, Task
from dimlift.training.memory import bytes_of, readable

CLIENT = "ray://"
ANSWER_WITHIN = 10.0
"""Seconds a cluster has to accept a connection."""


def ray_cluster(address: str = "") -> Machines:
    """Run cells on the cluster at an address.

    Args:
        address: "ray://HOST:10001" (Ray's client port), "HOST:6379" from a machine of the cluster; empty for the one in
            RAY_ADDRESS, the one this machine belongs to, or else one of this machine alone.
    """
    return partial(_run, address=address)


def _run(tasks: list[Task], resources: ResourcesSection, address: str) -> Generator[tuple[Task, str], None, None]:
    ray = _connected(address)
    waiting: dict[Any, Task] = {}
    try:
        demand = _demand(ray, resources)
        remote = ray.remote(**demand, max_retries=resources.retries)(_on_a_node())
        again = dict.fromkeys((task.cell for task in tasks), resources.retries)
        waiting = {remote.options(name=f"{t.config.name} {t.cell[:12]}").remote(t.to_json()): t for t in tasks}
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=1.0)  # a pause in which signals are heard
            for reference in ready:
                task = waiting.pop(reference)
                kind, end = _end_of(ray, reference)
                if kind == "absent":
                    raise RunError(
                        f"{end}; install it on every machine of the cluster in the environment that `ray start` runs "
                        "in, then start the same command again. Finished cells are kept"
                    )
                if end == STOPPED and again[task.cell] > 0:
                    again[task.cell] -= 1
                    waiting[remote.remote(task.to_json())] = task
                else:
                    yield task, end
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _on_a_node() -> Callable[[str], tuple[str, str]]:
    """What a node runs. It travels as source, so that a node without dimlift can say so."""

    def cell(text: str) -> tuple[str, str]:
        import platform

        try:
            from dimlift.studies.executors.job import work
        except ImportError as fault:
            return "absent", f"machine {platform.node()} cannot import dimlift ({fault})"
        return "ran", work(text)

    return cell


def _end_of(ray: Any, reference: Any) -> tuple[str, str]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as fault:
        lines = [line for line in str(fault).splitlines() if line.strip()] or [""]
        said = lines[-1] if isinstance(fault, ray.exceptions.RayTaskError) else lines[0]
        return "lost", f"{type(fault).__name__}: {said}; start the same command again to run what is missing"


def _demand(ray: Any, resources: ResourcesSection) -> dict[str, Any]:
    """What a task asks of a node.

    Raises:
        RunError: if no node has as much; Ray itself would wait for one for ever.
    """
    memory = bytes_of(resources.memory) if resources.memory else 0
    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": memory}
    if not any(all(offer.get(kind, 0) >= count for kind, count in wanted.items()) for offer in offers):
        found = "; ".join(
            f"{o.get('CPU', 0):g} processors, {o.get('GPU', 0):g} GPUs, {readable(o.get('memory', 0))}" for o in offers
        )
        raise RunError(
            f"no machine of the cluster has what one cell asks for ({resources.cpus:g} processors, "
            f"{resources.gpus:g} GPUs, {readable(memory)}); they have: {found}. Lower `resources`, or add machines"
        )
    return {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "memory": memory}


def _connected(address: str) -> Any:
    """Ray, connected.

    Raises:
        RunError: if it is not installed, or nobody answers.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "auto", "local"):
        _require_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    try:
        import ray
    except ModuleNotFoundError as fault:
        raise RunError("studies on many machines need Ray: pip install 'dimlift[ray]'") from fault
    try:
        ray.init(address=address or None, include_dashboard=None if address else False, log_to_driver=False,
                 logging_level=logging.ERROR, configure_logging=True)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as fault:
        raise RunError(f"Ray does not start or answer ({str(fault).splitlines()[0]}); {_WAY_OUT}") from fault
    return ray


_WAY_OUT = (
    "look on the head machine with `ray status`, start it with `ray start --head`, and give its client port "
    "(`--on ray://HOST:10001`). Finished cells are kept"
)


def _require_answer(address: str) -> None:
    """Raises: RunError, if nobody listens there; Ray itself would try for minutes."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        raise RunError(f"{address!r} is no address of a Ray cluster; write --on ray://HOST:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN).close()
    except (OSError, OverflowError) as fault:
        raise RunError(f"no Ray cluster answers at {address} ({fault}); {_WAY_OUT}") from fault
