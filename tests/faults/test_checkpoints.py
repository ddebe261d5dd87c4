"""A checkpoint is damaged, the disk is full, a run is asked to stop, a second one comes: nothing is lost."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError, Stopped
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_folder import claimed
from dimlift.studies.train import train
from dimlift.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from dimlift.training.fit import fit
from dimlift.training.optimizer import adamw
from dimlift.training.signals import heeded
from small_method import SmallMethod, batch_at

from .small_run import begin, finish

TRAINING = TrainingSection(device="cpu", rate=1e-2, checkpoint_every=1e-9)


def run(folder, steps=8, batches=batch_at, **more):
    method = SmallMethod()
    found = fit(
        method, batches, budget=BudgetSection(steps=steps), training=TRAINING, seed=3, checkpoints=folder, **more
    )
    return {name: value.clone() for name, value in method.state_dict().items()}, found


def stopped_at(step):
    def batches(wanted):
        if wanted == step:
            raise KeyboardInterrupt
        return batch_at(wanted)

    return batches


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_a_damaged_newest_checkpoint_is_passed_over_and_named(tmp_path, damage, kind):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", batches=stopped_at(5))
    damage(tmp_path / "cut" / f"step-00000005.{kind}")
    events = []
    again, found = run(tmp_path / "cut", progress=events.append)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    if damage is not Path.unlink or kind == "safetensors":  # without its JSON it was never a checkpoint
        (note,) = found.notes
        assert "step-00000005 is damaged" in note
        assert "went on from step 4" in note
        assert note in [event.message for event in events]


def test_with_every_checkpoint_damaged_it_begins_again_and_says_so(tmp_path):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", batches=stopped_at(5))
    for path in (tmp_path / "cut").glob("*.json"):
        flip(path)
    again, found = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert len(found.notes) == 2
    assert all("began again from step 0" in note for note in found.notes)


def test_what_was_passed_over_is_still_known_after_another_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=stopped_at(4))
    flip(tmp_path / "step-00000004.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=stopped_at(6))
    _, found = run(tmp_path)
    assert len(found.notes) == 1


def test_the_best_checkpoint_outlives_the_last_two(tmp_path):
    scores = iter([0.1, 0.9, 0.3, 0.2])
    training = TRAINING.model_copy(update={"validate_every": 0.25})
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
        cut(tmp_path / f"step-{late:08d}.safetensors")
    method = SmallMethod()
    assert load_checkpoint(tmp_path, method, adamw(method.parameter_groups(1e-2), 0.0), None).step == 4


def test_an_optimiser_state_comes_back_to_the_last_bit(tmp_path):
    method = SmallMethod()
    optimiser = adamw(method.parameter_groups(1e-2), 0.0)
    for step in range(3):
        method.loss(batch_at(step)).backward()
        optimiser.step()
    save_checkpoint(tmp_path, method, optimiser, None, Counters(step=3))
    other = SmallMethod()
    theirs = adamw(other.parameter_groups(1e-2), 0.0)
    assert load_checkpoint(tmp_path, other, theirs, None).step == 3
    for mine, its in zip(method.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)
        for key, value in optimiser.state[mine].items():
            assert torch.equal(value, theirs.state[its][key]), key


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs needs rights this process has not: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_named_and_the_checkpoint_before_is_intact(small_disk):
    folder, method = small_disk / "checkpoints", torch.nn.Linear(300, 300)  # 0.36 MB
    optimiser = torch.optim.AdamW(method.parameters())
    path = save_checkpoint(folder, method, optimiser, None, Counters(step=1))
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    (small_disk / "somebody").write_bytes(b"x" * 1_500_000)
    with pytest.raises(RunError, match=r"checkpoint of step 2 cannot be written to .* are free; free some space"):
        save_checkpoint(folder, method, optimiser, None, Counters(step=2))
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    assert load_checkpoint(folder, method, optimiser, None).step == 1
    assert path.exists()


@contextlib.contextmanager
def files_up_to(size):
    """No file may grow beyond `size`: how a full disk looks in the middle of a write, without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(tmp_path):
    whole, _ = run(tmp_path / "whole")
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(folder, batches=stopped_at(5))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with files_up_to(1000), pytest.raises(RunError, match="free some space there and start the same command again"):
        run(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again, found = run(folder)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not found.notes


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_run_after_the_step_it_fell_into(tmp_path, name):
    whole, _ = run(tmp_path / "whole")

    def signalled(step):
        if step == 3:
            os.kill(os.getpid(), getattr(signal, name))
        return batch_at(step)

    with heeded(), pytest.raises(Stopped, match=f"stopped by {name} after step 4; start the same command again"):
        run(tmp_path / "cut", batches=signalled)
    assert max(path.stem for path in (tmp_path / "cut").glob("*.json")) == "step-00000004"
    again, _ = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_outside_of_a_step_a_signal_ends_the_run_at_once_and_handlers_go_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped by SIGTERM"), heeded():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_line_asks_to_be_queued_again_and_refuses_a_second_run(config_file, tmp_path):
    """One process is signalled in the middle of training; while it lives, the folder is its own."""
    path, out = config_file(4000), tmp_path / "run"
    first = begin("command", "train", str(path), "--out", str(out))
    while not list((out / "checkpoints").glob("*.json")) and first.poll() is None:
        time.sleep(0.1)
    with pytest.raises(RunError, match="another process is at work"):
        train(load_config(path, [], TrainConfig), out)
    first.send_signal(signal.SIGTERM)
    code, _, complained = finish(first)
    assert code == 75, complained
    assert "stopped by SIGTERM after step" in complained
    assert "Traceback" not in complained


def test_a_run_killed_while_it_took_its_folder_can_begin(tmp_path):
    """The owner is written before anything else, so no moment leaves a folder that is refused for good."""
    with claimed(tmp_path / "run", "train", "one", {"seed": 1}):
        pass
    (tmp_path / "run" / "config.yaml").unlink()
    (tmp_path / "run" / ".config.yaml.1.part").write_text("half")
    with claimed(tmp_path / "run", "train", "one", {"seed": 1}):
        pass
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 1\n"
    assert not list((tmp_path / "run").glob(".*.part"))
