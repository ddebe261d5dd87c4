"""Resource usage of a run; energy only if NVML provides it."""

import sys
from types import SimpleNamespace

import pytest
import torch

from dimlift.training.energy import ResourceUsage, total_usage


class Driver:
    """NVML whose energy counter increases by 2500 mJ per reading."""

    def __init__(self):
        self.counted = 1_000_000

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, name):
        assert name == "GPU-0123"
        return "card"

    def nvmlDeviceGetTotalEnergyConsumption(self, card):
        assert card == "card"
        self.counted += 2500
        return self.counted


class OldCard(Driver):
    def nvmlDeviceGetTotalEnergyConsumption(self, card):
        raise RuntimeError("Not Supported")


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that a GPU is available and in use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 77)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(uuid="0123"))


def test_resource_usage_reads_energy_counter(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    usage = ResourceUsage().measure()
    assert (usage["joules"], usage["gpu_bytes"]) == (2.5, 77)


@pytest.mark.parametrize("driver", [None, OldCard()], ids=["not installed", "old card"])
def test_resource_usage_without_nvml_has_no_energy(gpu, monkeypatch, driver):
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert ResourceUsage().measure().keys() == {"cpu_seconds", "gpu_bytes"}


def test_resource_usage_without_gpu():
    assert ResourceUsage().measure().keys() == {"cpu_seconds"}


def test_total_usage_combines_processes():
    first, second = {"cpu_seconds": 1.0, "gpu_bytes": 5, "joules": 2.0}, {"cpu_seconds": 2.0, "gpu_bytes": 7}
    assert total_usage([first, {**second, "joules": 3.0}]) == {"cpu_seconds": 3.0, "gpu_bytes": 7, "joules": 5.0}
    assert total_usage([first, second]) == {"cpu_seconds": 3.0, "gpu_bytes": 7}
    assert total_usage([first]) == first
