"""Batches made by other processes: the same run, and a worker that fails or dies is named with its case."""

import os
import signal

import numpy as np
import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.orientation import Turn
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import RunError
from dimlift.training.fit import fit
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", rate=1e-2, checkpoint_every=1e-9)
AWAY = os.getpid()
"""Where the tests run; workers have other numbers."""


def run(workers, batches=batch_at, **more):
    method, training = SmallMethod(), TRAINING.model_copy(update={"workers": workers})
    found = fit(method, batches, budget=BudgetSection(steps=8), training=training, seed=3, **more)
    return method.state_dict(), [point["loss"] for point in found.history]


def sampler():
    """Three volumes, everything random on."""
    rng = np.random.default_rng(0)
    geometry = Geometry(Turn(((0, 1), (1, 1), (2, 1)), "z"), (9, 10, 11), (9, 10, 11), (1.0, 1.0, 1.0), np.eye(4))
    samples = [
        Sample(name, rng.normal(size=(1, 9, 10, 11)).astype(np.float32), rng.integers(0, 2, (9, 10, 11)), geometry)
        for name in ("anna", "bert", "carl")
    ]
    return PatchSampler(samples, (6, 6, 6), seed=5)


def test_workers_change_nothing(tmp_path):
    whole, losses = run(0)
    for workers in (1, 2):
        weights, again = run(workers)
        assert again == losses
        assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_patches_are_the_same_from_a_worker():
    patches = sampler()
    whole, losses = run(0, lambda step: patches.batch(step, 2))
    weights, again = run(2, lambda step: patches.batch(step, 2))
    assert again == losses
    assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_a_run_goes_on_with_workers_where_it_stopped_without(tmp_path):
    whole, _ = run(0)

    def stops(step):
        if step == 4:
            raise KeyboardInterrupt
        return batch_at(step)

    with pytest.raises(KeyboardInterrupt):
        run(0, stops, checkpoints=tmp_path)
    weights, _ = run(2, checkpoints=tmp_path)
    assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_a_worker_that_fails_shows_its_traceback_and_the_case(monkeypatch):
    patches = sampler()
    broken = patches.cases(3, 2)[1]

    def torn(self, number, *_):
        if self.samples[number].name == broken:
            raise ZeroDivisionError("torn file")
        return torch.zeros(1, 6, 6, 6)

    monkeypatch.setattr(PatchSampler, "_image", torn)
    with pytest.raises(RunError, match="a worker failed at the batch of step") as fault:
        run(1, lambda step: patches.batch(step, 2))
    told = str(fault.value)
    assert "ZeroDivisionError: torn file" in told
    assert "in torn" in told  # the traceback leads to the line
    assert f"cut from case {broken}" in told


def test_a_worker_killed_for_memory_is_named_as_such_with_its_cases():
    def greedy(step):
        if step == 3 and os.getpid() != AWAY:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does
        return batch_at(step)

    with pytest.raises(RunError, match=r"killed by signal Killed while .* batch of step \d") as fault:
        run(1, greedy, cases_at=lambda step: batch_at(step).cases)
    told = str(fault.value)
    assert "case_3" in told
    assert "when memory runs out: lower training.workers" in told


def test_a_signal_to_everybody_leaves_the_workers_at_work():
    """A batch system signals every process of a job; the parent still has a step to end."""

    def signalled(step):
        if os.getpid() != AWAY:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_at(step)

    assert run(1, signalled)[1] == run(0)[1]


def test_the_cases_of_a_step_are_those_of_its_batch():
    patches = sampler()
    assert [patches.cases(step, 3) for step in range(5)] == [patches.batch(step, 3).cases for step in range(5)]
