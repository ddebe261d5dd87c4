"""Two gloo processes train one network: batches, losses and scores of one process, written once."""

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
from dimlift.training.distributed import (
    ProcessGroup,
    complete_srun_environment,
    current_group,
    require_single_process,
)
from dimlift.training.fabric import make_fabric
from dimlift.training.fsdp import shard
from dimlift.training.step import training_step
from small_process import Frozen, steps
from small_runs import train_config, train_raw

TRAINING = {
    "patch_size": [8, 8, 8],
    "batch_size": 4,
    "num_threads": 1,
    "device": "cpu",
    "val_interval": 0.5,
    "ema_decay": 0.5,
}


def launch(program, size, *arguments, srun=False):
    """Start a program `size` times with the environment of `torchrun` or `srun`, and return the output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    if srun:  # as `srun --ntasks=SIZE`, which sets no SLURM_NTASKS_PER_NODE
        environment |= {"SLURM_NTASKS": str(size), "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train"}
    else:
        environment |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "GROUP_RANK": "0"}
        environment |= {"TORCHELASTIC_RUN_ID": "test"}
    names = ("SLURM_PROCID", "SLURM_LOCALID") if srun else ("RANK", "LOCAL_RANK")
    running = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parents[1] / program), *arguments],
            env=environment | dict.fromkeys(names, str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        outputs = [one.communicate(timeout=300)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0] * size, "\n".join(outputs)
    return outputs


@pytest.mark.slow
def test_two_processes_train_like_one_and_rank_zero_writes(data, tmp_path):
    one = train(train_config(data, training=TRAINING), tmp_path / "one")
    outputs = launch(
        "small_process.py", 2, "train", json.dumps(train_raw(data, training=TRAINING)), str(tmp_path / "two")
    )
    (two,) = load_records(tmp_path / "two" / "records")
    assert (two.run_id, two.steps, two.extra["processes"]) == (one.run_id, one.steps, 2)
    for got, want in zip(two.history, one.history, strict=True):  # Dice is over the patches of a process
        assert got["loss"] == pytest.approx(want["loss"], rel=0.05)
        assert got.get("dice") == pytest.approx(want.get("dice"), abs=0.1)
    assert [(s.case, s.class_, s.metric) for s in two.scores] == [(s.case, s.class_, s.metric) for s in one.scores]
    written = {file.name for file in (tmp_path / "two" / "predictions").iterdir()}
    assert written == {file.name for file in (tmp_path / "one" / "predictions").iterdir()}
    printed = ["train" in one.splitlines() for one in outputs]
    assert printed == [True, False]


@pytest.mark.parametrize("interrupted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_have_losses_and_weights_of_one(tmp_path, interrupted):
    """Covers frozen batch norm, gradient clipping, a moving average, a layer that is unfrozen later, validation."""
    steps(tmp_path / "one", ProcessGroup(), 6)
    if interrupted:  # checkpoints hold full tensors, so a run may resume with the other strategy
        launch("small_process.py", 2, "steps", str(tmp_path), "3", "ddp", "fsdp")
        (tmp_path / "ddp").rename(tmp_path / "other")
        (tmp_path / "fsdp").rename(tmp_path / "ddp")
        (tmp_path / "other").rename(tmp_path / "fsdp")
    outputs = launch("small_process.py", 2, "steps", str(tmp_path), "6", "ddp", "fsdp")
    for strategy in ("ddp", "fsdp"):
        one, two = (json.loads((tmp_path / name / "losses.json").read_text()) for name in ("one", strategy))
        for got, want in zip(two, one, strict=True):
            assert got == pytest.approx(want, rel=1e-5)
        got, want = (load_file(tmp_path / name / "weights.safetensors") for name in (strategy, "one"))
        for name in want:
            torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6)
    if not interrupted:
        sizes = [[int(line.split()[1]) for line in one.splitlines() if line.startswith("size")][-2:] for one in outputs]
        total = sum(value.numel() for value in Frozen().parameters())
        (ddp_first, first), (ddp_second, second) = sizes
        assert ddp_first == ddp_second == total == first + second
        assert 0 < first < total


def test_training_step_gathers_losses_during_backward():
    """Processes synchronise once per step, for the gradient, and not before it for the loss."""
    order = []

    class RecordingGroup(ProcessGroup):
        def gather_async(self, *values):
            order.append("gather")
            return lambda: order.append("waited") or [list(values)]

    class RecordingMethod(nn.Linear):
        def loss(self, batch):
            loss = super().forward(batch.image).mean()
            loss.register_hook(lambda _: order.append("gradient"))
            return loss

    method = RecordingMethod(2, 1)
    training = TrainingSection(device="cpu")
    fabric = make_fabric(training, ProcessGroup())
    module, stepper = fabric.setup(method, torch.optim.SGD(method.parameters()))
    module.mark_forward_method("loss")
    training_step(
        fabric,
        module,
        stepper,
        VolumeBatch(torch.ones(1, 2), torch.ones(1), ("a",)),
        training,
        0,
        None,
        RecordingGroup(),
    )
    assert order == ["gather", "gradient", "waited"]


def test_shard_rejects_scalar_parameters():
    method = nn.Linear(2, 2)
    method.gate = nn.Parameter(torch.zeros(()))
    with pytest.raises(RunError, match=r"gate is a scalar parameter.*training.strategy=ddp"):
        shard(method, None)


def test_local_range_partitions_a_batch(data):
    sampler = sampler_of(data)
    complete = sampler.batch(3, 4)
    parts = [sampler.batch(3, 4, ProcessGroup(rank, 2).local_range(4)) for rank in range(2)]
    assert torch.equal(torch.cat([part.image for part in parts]), complete.image)
    assert sum((part.cases for part in parts), ()) == complete.cases


def sampler_of(data):
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.preprocessing.preprocessing import Preprocessing

    dataset = open_dataset(data)
    preprocessing = Preprocessing.fit(dataset, dataset.cases)
    return PatchSampler([preprocessing.read(case) for case in dataset.cases[:3]], (8, 8, 8))


@pytest.mark.slow
def test_srun_with_ntasks_trains_like_torchrun(tmp_path):
    for name in ("torchrun", "srun"):
        launch("small_process.py", 2, "steps", str(tmp_path / name), "6", "ddp", srun=name == "srun")
    first, second = (load_file(tmp_path / name / "ddp" / "weights.safetensors") for name in ("torchrun", "srun"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_srun_environment_is_completed(monkeypatch):
    for key, value in {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "1"}.items():
        monkeypatch.setenv(key, value)  # of the job, not of this step
    for key in ("SLURM_NODEID", "SLURM_LOCALID"):
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)
    complete_srun_environment(ProcessGroup(5, 8, 2))
    names = ("SLURM_NTASKS_PER_NODE", "SLURM_NODEID", "SLURM_LOCALID")
    assert [os.environ[name] for name in names] == ["4", "1", "1"]
    with pytest.raises(RunError, match="--ntasks-per-node"):
        complete_srun_environment(ProcessGroup(5, 8, 3))


def test_local_range_suggests_divisible_batch_size():
    with pytest.raises(RunError, match=r"training.batch_size=6"):
        ProcessGroup(0, 3).local_range(4)


def test_current_group_reads_torchrun_and_slurm_environment(monkeypatch):
    assert current_group() == ProcessGroup()
    for key, value in {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}.items():
        monkeypatch.setenv(key, value)
    assert current_group() == ProcessGroup(5, 8, 2)
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(key, value)
    assert current_group() == ProcessGroup(3, 4, 1)
    with pytest.raises(RunError, match="--executor ray"):
        require_single_process("compare", "distribute a study with --executor ray or --executor slurm")
