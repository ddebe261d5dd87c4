"""Two gloo processes train one network: the same batches, losses and scores as one process, written once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.config.sections import TrainingSection
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import RunError
from dimlift.records.record import load_records
from dimlift.studies.train import train
from dimlift.training.distributed import Team, require_alone, team
from dimlift.training.fabric import fabric_for
from dimlift.training.fsdp import shard
from dimlift.training.step import take_step
from small_process import Frozen, steps
from small_runs import train_config, train_raw

TRAINING = {"patch_size": [8, 8, 8], "batch_size": 4, "threads": 1, "device": "cpu", "validate_every": 0.5, "ema": 0.5}


def started(program, size, *arguments):
    """What `torchrun` does: the same program `size` times, each told who it is; what each of them said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    running = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), *arguments],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        said = [one.communicate(timeout=300)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0] * size, "\n".join(said)
    return said


@pytest.mark.slow
def test_two_processes_train_as_one_and_only_the_first_writes_and_speaks(data, tmp_path):
    one = train(train_config(data, training=TRAINING), tmp_path / "one")
    said = started(
        "small_process.py", 2, "train", json.dumps(train_raw(data, training=TRAINING)), str(tmp_path / "two")
    )
    (two,) = load_records(tmp_path / "two" / "records")
    assert (two.cell, two.steps, two.extra["processes"]) == (one.cell, one.steps, 2)
    for got, want in zip(two.history, one.history, strict=True):  # Dice is of the patches of a process, so not equal
        assert got["loss"] == pytest.approx(want["loss"], rel=0.05)
        assert got.get("dice") == pytest.approx(want.get("dice"), abs=0.1)
    assert [(s.case, s.class_, s.metric) for s in two.scores] == [(s.case, s.class_, s.metric) for s in one.scores]
    written = {file.name for file in (tmp_path / "two" / "predictions").iterdir()}
    assert written == {file.name for file in (tmp_path / "one" / "predictions").iterdir()}
    spoke = ["train" in one.splitlines() for one in said]
    assert spoke == [True, False]


@pytest.mark.parametrize("interrupted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_losses_and_weights_of_two_processes_are_those_of_one(tmp_path, interrupted):
    """Frozen batch norm, a loss of each sample, clipping, a moving average, a layer that learns later, validation."""
    steps(tmp_path / "one", Team(), 6)
    if interrupted:  # checkpoints hold whole tensors whoever wrote them: a run may go on with the other strategy
        started("small_process.py", 2, "steps", str(tmp_path), "3", "ddp", "fsdp")
        (tmp_path / "ddp").rename(tmp_path / "other")
        (tmp_path / "fsdp").rename(tmp_path / "ddp")
        (tmp_path / "other").rename(tmp_path / "fsdp")
    said = started("small_process.py", 2, "steps", str(tmp_path), "6", "ddp", "fsdp")
    for strategy in ("ddp", "fsdp"):
        one, two = (json.loads((tmp_path / name / "losses.json").read_text()) for name in ("one", strategy))
        for got, want in zip(two, one, strict=True):
            assert got == pytest.approx(want, rel=1e-5)
        got, want = (load_file(tmp_path / name / "weights.safetensors") for name in (strategy, "one"))
        for name in want:
            torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6)
    if not interrupted:
        held = [[int(line.split()[1]) for line in one.splitlines() if line.startswith("holds")][-2:] for one in said]
        numbers = sum(value.numel() for value in Frozen().parameters())
        (ddp_first, first), (ddp_second, second) = held
        assert ddp_first == ddp_second == numbers == first + second
        assert 0 < first < numbers


def test_losses_travel_while_the_gradient_is_computed():
    """Processes wait for each other once a step, for the gradient, and not before it for the loss."""
    order = []

    class Heard(Team):
        def asked(self, *values):
            order.append("told")
            return lambda: order.append("waited") or [list(values)]

    class Watched(nn.Linear):
        def loss(self, batch):
            loss = super().forward(batch.image).mean()
            loss.register_hook(lambda _: order.append("gradient"))
            return loss

    method = Watched(2, 1)
    training = TrainingSection(device="cpu")
    fabric = fabric_for(training, Team())
    module, stepper = fabric.setup(method, torch.optim.SGD(method.parameters()))
    module.mark_forward_method("loss")
    take_step(fabric, module, stepper, VolumeBatch(torch.ones(1, 2), torch.ones(1), ("a",)), training, 0, None, Heard())
    assert order == ["told", "gradient", "waited"]


def test_a_network_with_a_single_number_is_not_shared_out():
    method = nn.Linear(2, 2)
    method.gate = nn.Parameter(torch.zeros(()))
    with pytest.raises(RunError, match=r"gate is a single number.*training.strategy=ddp"):
        shard(method, None)


def test_processes_share_a_batch_without_gap_or_overlap(data):
    sampler = sampler_of(data)
    whole = sampler.batch(3, 4)
    parts = [sampler.batch(3, 4, Team(rank, 2).share_of(4)) for rank in range(2)]
    assert torch.equal(torch.cat([part.image for part in parts]), whole.image)
    assert sum((part.cases for part in parts), ()) == whole.cases


def sampler_of(data):
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.preprocessing.preprocessing import Preprocessing

    dataset = open_dataset(data)
    preprocessing = Preprocessing.fit(dataset, dataset.cases)
    return PatchSampler([preprocessing.read(case) for case in dataset.cases[:3]], (8, 8, 8))


def test_a_batch_that_cannot_be_shared_names_the_size_to_set():
    with pytest.raises(RunError, match=r"training.batch_size=6"):
        Team(0, 3).share_of(4)


def test_who_a_process_is_comes_from_torchrun_or_slurm(monkeypatch):
    assert team() == Team()
    for key, value in {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}.items():
        monkeypatch.setenv(key, value)
    assert team() == Team(5, 8, 2)
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(key, value)
    assert team() == Team(3, 4, 1)
    with pytest.raises(RunError, match=r"--on ray"):
        require_alone("compare", "share a study out with --on ray or --on slurm")
