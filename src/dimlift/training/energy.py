"""Resource usage of a part of a run besides time and host memory: CPU seconds, GPU memory, GPU energy."""

import os
from collections.abc import Callable, Sequence
from typing import Any


class ResourceUsage:
    """Usage since creation. Energy is the driver's counter of the whole GPU, other processes included."""

    def __init__(self) -> None:
        self._cpu_seconds, self._energy = _cpu_seconds(), _gpu_millijoules()

    def measure(self) -> dict[str, Any]:
        """Return {"cpu_seconds"} of this process and its finished children, on a GPU also {"gpu_bytes", "joules"}."""
        import torch

        usage: dict[str, Any] = {"cpu_seconds": _cpu_seconds() - self._cpu_seconds}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            usage["gpu_bytes"] = torch.cuda.max_memory_allocated()
            energy = _gpu_millijoules()
            if energy is not None and self._energy is not None:
                usage["joules"] = (energy - self._energy) / 1000
        return usage


def total_usage(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combine the usage of several processes: sum of seconds and joules, maximum of GPU memory.

    Entries that a process lacks are left out.
    """
    rules: dict[str, Callable[[list[Any]], Any]] = {"cpu_seconds": sum, "gpu_bytes": max, "joules": sum}
    return {name: rule([p[name] for p in parts]) for name, rule in rules.items() if all(name in p for p in parts)}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _gpu_millijoules() -> int | None:
    """Return the energy of the current GPU since its driver started; None without GPU or extra `energy` (NVML)."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(card))
    except Exception:  # an old GPU, or a container without the driver's library: energy is not reported
        return None
