"""What a stretch of work costs beside its time and memory: processor seconds, GPU memory, GPU energy."""

import os
from collections.abc import Callable, Sequence
from typing import Any


class Cost:
    """Measures from its creation on. Energy is what the driver counts for the whole GPU, others' work included."""

    def __init__(self) -> None:
        self._processor, self._energy = _processor_seconds(), _millijoules()

    def facts(self) -> dict[str, Any]:
        """{"cpu_seconds"} of this process and its finished children, and on a GPU {"gpu_bytes", "joules"}."""
        import torch

        found: dict[str, Any] = {"cpu_seconds": _processor_seconds() - self._processor}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["gpu_bytes"] = torch.cuda.max_memory_allocated()
            now = _millijoules()
            if now is not None and self._energy is not None:
                found["joules"] = (now - self._energy) / 1000
        return found


def cost_of_all(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The cost of several processes: seconds and joules of all, memory of the GPU that held most; what all measured."""
    combined: dict[str, Callable[[list[Any]], Any]] = {"cpu_seconds": sum, "gpu_bytes": max, "joules": sum}
    return {name: rule([p[name] for p in parts]) for name, rule in combined.items() if all(name in p for p in parts)}


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _millijoules() -> int | None:
    """Energy the current GPU has used since its driver started; None without a GPU or the extra `energy` (NVML)."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(card))
    except Exception:
        return None  # an old card, a container without the driver's library: energy is then not reported
