"""Damaged checkpoints, full disks, signals and concurrent runs: no progress is lost."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError, RunInterrupted
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.train import train
from dimlift.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from dimlift.training.fit import fit
from dimlift.training.optimizer import make_adamw
from dimlift.training.signals import raise_on_signal
from small_limits import limit_file_size
from small_method import SmallMethod, batch_at

from .small_run import begin, finish

TRAINING = TrainingSection(device="cpu", lr=1e-2, checkpoint_every=1e-9)


def run(folder, steps=8, batches=batch_at, **more):
    method = SmallMethod()
    found = fit(
        method, batches, budget=BudgetSection(steps=steps), training=TRAINING, seed=3, checkpoints=folder, **more
    )
    return {name: value.clone() for name, value in method.state_dict().items()}, found


def interrupted_at(step):
    def batches(number):
        if number == step:
            raise KeyboardInterrupt
        return batch_at(number)

    return batches


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip_bit, truncate, Path.unlink])
@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_damaged_checkpoint_is_skipped_and_reported(tmp_path, damage, kind):
    complete, _ = run(tmp_path / "complete")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "interrupted", batches=interrupted_at(5))
    damage(tmp_path / "interrupted" / f"step-00000005.{kind}")
    events = []
    again, found = run(tmp_path / "interrupted", progress=events.append)
    assert all(torch.equal(complete[name], again[name]) for name in complete)
    if damage is not Path.unlink or kind == "safetensors":  # without its JSON file it is not a checkpoint
        (note,) = found.notes
        assert "step-00000005 is corrupt" in note
        assert "resumed from step 4" in note
        assert note in [event.message for event in events]


def test_run_restarts_if_all_checkpoints_are_damaged(tmp_path):
    complete, _ = run(tmp_path / "complete")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "interrupted", batches=interrupted_at(5))
    for path in (tmp_path / "interrupted").glob("*.json"):
        flip_bit(path)
    again, found = run(tmp_path / "interrupted")
    assert all(torch.equal(complete[name], again[name]) for name in complete)
    assert len(found.notes) == 2
    assert all("restarted from step 0" in note for note in found.notes)


def test_notes_survive_another_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=interrupted_at(4))
    flip_bit(tmp_path / "step-00000004.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=interrupted_at(6))
    _, found = run(tmp_path)
    assert len(found.notes) == 1


def test_best_checkpoint_is_kept(tmp_path):
    scores = iter([0.1, 0.9, 0.3, 0.2])
    training = TRAINING.model_copy(update={"val_interval": 0.25})
    fit(
        SmallMethod(),
        batch_at,
        budget=BudgetSection(steps=8),
        training=training,
        seed=3,
        checkpoints=tmp_path,
        validate=lambda _: {"dice": next(scores)},
    )
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["step-00000004", "step-00000007", "step-00000008"]
    for late in (7, 8):
        truncate(tmp_path / f"step-{late:08d}.safetensors")
    method = SmallMethod()
    assert load_checkpoint(tmp_path, method, make_adamw(method.param_groups(1e-2), 0.0), None).step == 4


def test_optimizer_state_round_trip_is_exact(tmp_path):
    method = SmallMethod()
    optimiser = make_adamw(method.param_groups(1e-2), 0.0)
    for step in range(3):
        method.loss(batch_at(step)).backward()
        optimiser.step()
    save_checkpoint(tmp_path, method, optimiser, None, TrainingState(step=3))
    other = SmallMethod()
    theirs = make_adamw(other.param_groups(1e-2), 0.0)
    assert load_checkpoint(tmp_path, other, theirs, None).step == 3
    for mine, its in zip(method.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)
        for key, value in optimiser.state[mine].items():
            assert torch.equal(value, theirs.state[its][key]), key


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs requires privileges: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_is_reported_and_previous_checkpoint_is_kept(small_disk):
    folder, method = small_disk / "checkpoints", torch.nn.Linear(300, 300)  # 0.36 MB
    optimiser = torch.optim.AdamW(method.parameters())
    path = save_checkpoint(folder, method, optimiser, None, TrainingState(step=1))
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    (small_disk / "other").write_bytes(b"x" * 1_500_000)
    with pytest.raises(RunError, match=r"checkpoint of step 2 cannot be written to .* are free; free some space"):
        save_checkpoint(folder, method, optimiser, None, TrainingState(step=2))
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    assert load_checkpoint(folder, method, optimiser, None).step == 1
    assert path.exists()


def test_full_disk_during_write_keeps_checkpoints(tmp_path):
    complete, _ = run(tmp_path / "complete")
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run(folder, batches=interrupted_at(5))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with limit_file_size(1000), pytest.raises(RunError, match="free some space there and start the same command again"):
        run(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again, found = run(folder)
    assert all(torch.equal(complete[name], again[name]) for name in complete)
    assert not found.notes


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_signal_ends_run_after_current_step(tmp_path, name):
    complete, _ = run(tmp_path / "complete")

    def signalled(step):
        if step == 3:
            os.kill(os.getpid(), getattr(signal, name))
        return batch_at(step)

    with (
        raise_on_signal(),
        pytest.raises(RunInterrupted, match=f"stopped by {name} after step 4; start the same command again"),
    ):
        run(tmp_path / "interrupted", batches=signalled)
    assert max(path.stem for path in (tmp_path / "interrupted").glob("*.json")) == "step-00000004"
    again, _ = run(tmp_path / "interrupted")
    assert all(torch.equal(complete[name], again[name]) for name in complete)


def test_second_interrupt_stops_within_the_step(tmp_path):
    def interrupted_twice(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return batch_at(step)

    with raise_on_signal(), pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=interrupted_twice)


def test_signal_outside_of_step_ends_run_immediately():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunInterrupted, match="stopped by SIGTERM"), raise_on_signal():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signalled_command_saves_and_locks_its_folder(config_file, tmp_path, number, exit_code):
    """A second run in the same folder is rejected until the first one has ended."""
    path, out = config_file(4000), tmp_path / "run"
    first = begin("command", "train", str(path), "--out", str(out))
    while not list((out / "checkpoints").glob("*.json")) and first.poll() is None:
        time.sleep(0.1)
    with pytest.raises(RunError, match="another process is using"):
        train(load_config(path, [], TrainConfig), out)
    first.send_signal(number)
    code, _, errors = finish(first)
    assert code == exit_code, errors
    assert f"stopped by {number.name} after step" in errors
    assert "Traceback" not in errors


def test_run_killed_while_creating_its_folder_can_resume(tmp_path):
    """The owner file is written first, so a kill at any moment leaves a folder that can be used again."""
    with lock_run_folder(tmp_path / "run", "train", "one", {"seed": 1}):
        pass
    (tmp_path / "run" / "config.yaml").unlink()
    (tmp_path / "run" / ".config.yaml.1.part").write_text("half")
    with lock_run_folder(tmp_path / "run", "train", "one", {"seed": 1}):
        pass
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 1\n"
    assert not list((tmp_path / "run").glob(".*.part"))
