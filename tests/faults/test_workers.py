"""Batches from worker processes: identical runs, and errors that name the failed case."""

import os
import signal

import numpy as np
import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.orientation import Reorientation
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import RunError
from dimlift.training.fit import fit
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", lr=1e-2, checkpoint_every=1e-9)
MAIN_PROCESS = os.getpid()
"""Process id of the tests; workers have others."""


def run(workers, batches=batch_at, **more):
    method, training = SmallMethod(), TRAINING.model_copy(update={"num_workers": workers})
    found = fit(method, batches, budget=BudgetSection(steps=8), training=training, seed=3, **more)
    return method.state_dict(), [point["loss"] for point in found.history]


def sampler():
    """Return a sampler of three volumes with augmentation."""
    rng = np.random.default_rng(0)
    geometry = Geometry(
        Reorientation(((0, 1), (1, 1), (2, 1)), "z"), (9, 10, 11), (9, 10, 11), (1.0, 1.0, 1.0), np.eye(4)
    )
    samples = [
        Sample(name, rng.normal(size=(1, 9, 10, 11)).astype(np.float32), rng.integers(0, 2, (9, 10, 11)), geometry)
        for name in ("anna", "bert", "carl")
    ]
    return PatchSampler(samples, (6, 6, 6), seed=5)


def test_workers_do_not_change_results(tmp_path):
    expected, losses = run(0)
    for workers in (1, 2):
        weights, again = run(workers)
        assert again == losses
        assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_worker_patches_are_identical():
    patches = sampler()
    expected, losses = run(0, lambda step: patches.batch(step, 2))
    weights, again = run(2, lambda step: patches.batch(step, 2))
    assert again == losses
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_run_without_workers_resumes_with_workers(tmp_path):
    expected, _ = run(0)

    def stops(step):
        if step == 4:
            raise KeyboardInterrupt
        return batch_at(step)

    with pytest.raises(KeyboardInterrupt):
        run(0, stops, checkpoints=tmp_path)
    weights, _ = run(2, checkpoints=tmp_path)
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_failed_worker_reports_traceback_and_case(monkeypatch):
    patches = sampler()
    broken = patches.cases(3, 2)[1]

    def fail(self, number, *_):
        if self.samples[number].name == broken:
            raise ZeroDivisionError("torn file")
        return torch.zeros(1, 6, 6, 6)

    monkeypatch.setattr(PatchSampler, "_crop_image", fail)
    with pytest.raises(RunError, match="a worker failed at the batch of step") as fault:
        run(1, lambda step: patches.batch(step, 2))
    message = str(fault.value)
    assert "ZeroDivisionError: torn file" in message
    assert "in fail" in message  # from the traceback
    assert f"cropped from case {broken}" in message


def test_killed_worker_is_reported_with_its_cases():
    def greedy(step):
        if step == 3 and os.getpid() != MAIN_PROCESS:
            os.kill(os.getpid(), signal.SIGKILL)  # like the out-of-memory killer
        return batch_at(step)

    with pytest.raises(RunError, match=r"killed by signal Killed while .* batch of step \d") as fault:
        run(1, greedy, cases_at=lambda step: batch_at(step).cases)
    message = str(fault.value)
    assert "case_3" in message
    assert "when memory runs out: lower training.num_workers" in message


def test_workers_ignore_signals_to_the_process_group():
    """A batch system signals every process of a job, and the parent process still finishes its step."""

    def signalled(step):
        if os.getpid() != MAIN_PROCESS:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_at(step)

    assert run(1, signalled)[1] == run(0)[1]


def test_cases_at_matches_batches():
    patches = sampler()
    assert [patches.cases(step, 3) for step in range(5)] == [patches.batch(step, 3).cases for step in range(5)]
