"""The training loop: budgets, reproducibility, exact resuming, and errors."""

import math

import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError
from dimlift.training.checkpoint import save_checkpoint
from dimlift.training.fit import fit, step_seed
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", lr=1e-2, ema_decay=0.9, checkpoint_every=1e-9, val_interval=0.5)
TEN = BudgetSection(steps=10)


class Interrupted(Exception):
    """Replaces a kill of the process."""


def run(method=None, batches=batch_at, budget=TEN, training=TRAINING, **more):
    method = method or SmallMethod()
    return method, fit(method, batches, budget=budget, training=training, seed=3, **more)


def interrupted_at(step):
    def batches(current):
        if current == step:
            raise Interrupted
        return batch_at(current)

    return batches


def assert_same_weights(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_fit_is_bit_identical_regardless_of_global_rng():
    one, first = run()
    torch.rand(17)
    other, second = run()
    assert_same_weights(one, other)
    assert [p["loss"] for p in first.history] == [p["loss"] for p in second.history]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_fit_resumes_exactly(tmp_path, stop, ema_decay):
    training = TRAINING.model_copy(update={"ema_decay": ema_decay})
    whole, expected = run(training=training)
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(stop), training=training, checkpoints=tmp_path)
    resumed, found = run(training=training, checkpoints=tmp_path)
    assert_same_weights(whole, resumed)
    assert [(p["step"], p["loss"]) for p in found.history] == [(p["step"], p["loss"]) for p in expected.history]


def test_fit_falls_back_to_previous_checkpoint_if_corrupt(tmp_path):
    whole, _ = run()
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(5), checkpoints=tmp_path)
    newest = max(tmp_path.glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes(content)
    resumed, found = run(checkpoints=tmp_path)
    assert_same_weights(whole, resumed)
    assert len(found.notes) == 1
    assert newest.stem in found.notes[0]


def test_fit_keeps_two_checkpoints_and_no_temporary_files(tmp_path):
    run(checkpoints=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:08d}.{kind}" for step in (9, 10) for kind in ("json", "safetensors")
    ]


def test_fit_ignores_tensors_without_json(tmp_path):
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(5), checkpoints=tmp_path)
    max(tmp_path.glob("*.json")).unlink()  # killed between the two files
    whole, _ = run()
    resumed, found = run(checkpoints=tmp_path)
    assert_same_weights(whole, resumed)
    assert not found.notes


def test_fit_keeps_older_checkpoints_on_full_disk(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(5), checkpoints=tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dimlift.records.atomic_write.os.replace", full)
    with pytest.raises(
        RunError, match=r"No space left on device.*; free some space there and start the same command again"
    ):
        run(checkpoints=tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_fit_rejects_checkpoint_of_another_network(tmp_path):
    other = torch.nn.Linear(2, 2)
    from dimlift.training.checkpoint import TrainingState

    save_checkpoint(tmp_path, other, torch.optim.AdamW(other.parameters()), None, TrainingState(step=3))
    with pytest.raises(RunError, match="another network"):
        run(checkpoints=tmp_path)


class FakeClock:
    """Clock that advances by 10 ms per reading."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("dimlift.training.fit.time", self)

    def perf_counter(self):
        self.now += 0.01
        return self.now


def test_fit_stops_after_budget_of_seconds(monkeypatch):
    FakeClock(monkeypatch)
    training = TRAINING.model_copy(update={"val_interval": 0})
    _, whole = run(budget=BudgetSection(seconds=2), training=training)
    assert whole.steps in (200, 201)  # a step reads the clock at its start and at its end
    assert whole.seconds == pytest.approx(2, abs=0.011)
    assert 95 <= len(whole.history) <= 101
    method, rest = run(budget=BudgetSection(seconds=2), training=training, seconds_before=1.5)
    assert rest.steps in (50, 51)
    assert rest.seconds == pytest.approx(2, abs=0.011)
    assert method.progress[0] == 0  # the schedule starts with training, not with feature extraction


def test_fit_rejects_budget_used_by_feature_extraction():
    with pytest.raises(RunError, match="feature extraction took 2 s, the whole budget of 1 s"):
        run(budget=BudgetSection(seconds=1), seconds_before=2)


def test_fit_does_not_count_validation_time(monkeypatch):
    clock = FakeClock(monkeypatch)

    def slow(_method):
        clock.now += 1000
        return {"dice": 0.7}

    _, found = run(validate=slow)
    assert [p["step"] for p in found.history if "dice" in p] == [5, 10]
    assert found.seconds == pytest.approx(0.1)


def test_fit_reports_step_and_cases_of_non_finite_loss():
    def poisoned(step):
        batch = batch_at(step)
        return batch._replace(image=batch.image * math.inf) if step == 3 else batch

    with pytest.raises(RunError, match=r"step 3 is nan; its patches came from case_3, other"):
        run(batches=poisoned)


def test_fit_reports_batch_when_out_of_memory():
    class Hungry(SmallMethod):
        def loss(self, batch):
            raise torch.OutOfMemoryError("no")

    with pytest.raises(RunError, match=r"batch of 2 patches of 6 x 6 x 6 voxels; set training\.batch_size=1"):
        run(Hungry())


def test_fit_reports_progress_to_method_before_each_step():
    method, _ = run()
    assert method.progress == [step / 10 for step in range(10)]


def test_fit_progress_is_monotonic():
    events = []
    run(progress=events.append)
    fractions = [event.fraction for event in events]
    assert fractions[-1] == 1
    assert fractions == sorted(fractions)
    assert events[-1].step == 10


def test_fit_restores_global_rng():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run()
    assert torch.equal(torch.rand(3), expected)


def test_step_seed_is_unique():
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000


@pytest.mark.parametrize(("precision", "computed_in"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_fit_bf16_computes_layers_in_bfloat16_with_float32_weights(precision, computed_in):
    seen = set()
    method = SmallMethod()
    method.last.register_forward_hook(lambda layer, inputs, output: seen.add(output.dtype))
    _, found = run(method, training=TRAINING.model_copy(update={"precision": precision}))
    assert seen == {computed_in}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert math.isfinite(found.history[-1]["loss"])


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_batch_norm_of_a_single_value_is_explained(precision):
    def one_voxel(step):
        batch = batch_at(step)
        return batch._replace(image=batch.image[:1, :, :1, :1, :1], label=batch.label[:1, :1, :1, :1])

    with pytest.raises(
        RunError, match=r"a batch of 1, .*training\.batch_size=2 or more, or a larger training\.patch_size"
    ):
        run(batches=one_voxel, training=TRAINING.model_copy(update={"precision": precision}))
