"""What a run cost: energy where NVML gives it, nothing invented where it does not."""

import sys
from types import SimpleNamespace

import pytest
import torch

from dimlift.training.energy import Cost, cost_of_all


class Driver:
    """A driver whose counter has gone on by 2500 millijoules each time it is read."""

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
    """As if a GPU were there and had been used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 77)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(uuid="0123"))


def test_energy_is_what_the_driver_counted_meanwhile(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    facts = Cost().facts()
    assert (facts["joules"], facts["gpu_bytes"]) == (2.5, 77)


@pytest.mark.parametrize("driver", [None, OldCard()], ids=["not installed", "old card"])
def test_without_nvml_there_is_no_energy_and_no_fault(gpu, monkeypatch, driver):
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert Cost().facts().keys() == {"cpu_seconds", "gpu_bytes"}


def test_without_a_gpu_nothing_of_it_is_said():
    assert Cost().facts().keys() == {"cpu_seconds"}


def test_processes_add_up_and_what_one_did_not_measure_is_left_out():
    first, second = {"cpu_seconds": 1.0, "gpu_bytes": 5, "joules": 2.0}, {"cpu_seconds": 2.0, "gpu_bytes": 7}
    assert cost_of_all([first, {**second, "joules": 3.0}]) == {"cpu_seconds": 3.0, "gpu_bytes": 7, "joules": 5.0}
    assert cost_of_all([first, second]) == {"cpu_seconds": 3.0, "gpu_bytes": 7}
    assert cost_of_all([first]) == first
