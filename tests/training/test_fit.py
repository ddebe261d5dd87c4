"""What the loop promises: budgets, the same numbers again, resuming as if nothing had been, loud failures."""

import math

import pytest
import torch

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError
from dimlift.training.checkpoint import save_checkpoint
from dimlift.training.fit import fit, step_seed
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", rate=1e-2, ema=0.9, checkpoint_every=1e-9, validate_every=0.5)
TEN = BudgetSection(steps=10)


class Interrupted(Exception):
    """Stands for a killed process."""


def run(method=None, batches=batch_at, budget=TEN, training=TRAINING, **more):
    method = method or SmallMethod()
    return method, fit(method, batches, budget=budget, training=training, seed=3, **more)


def interrupted_at(step):
    def batches(wanted):
        if wanted == step:
            raise Interrupted
        return batch_at(wanted)

    return batches


def assert_same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name


def test_two_runs_are_bit_identical_whatever_was_drawn_before():
    one, first = run()
    torch.rand(17)
    other, second = run()
    assert_same_weights(one, other)
    assert [p["loss"] for p in first.history] == [p["loss"] for p in second.history]


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_ten_steps_equal_some_and_the_rest_resumed(tmp_path, stop, ema):
    training = TRAINING.model_copy(update={"ema": ema})
    whole, expected = run(training=training)
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(stop), training=training, checkpoints=tmp_path)
    resumed, found = run(training=training, checkpoints=tmp_path)
    assert_same_weights(whole, resumed)
    assert [(p["step"], p["loss"]) for p in found.history] == [(p["step"], p["loss"]) for p in expected.history]


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path):
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


def test_two_checkpoints_are_kept_and_no_scratch(tmp_path):
    run(checkpoints=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:08d}.{kind}" for step in (9, 10) for kind in ("json", "safetensors")
    ]


def test_tensors_without_their_json_are_no_checkpoint(tmp_path):
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(5), checkpoints=tmp_path)
    max(tmp_path.glob("*.json")).unlink()  # killed between the two files
    whole, _ = run()
    resumed, found = run(checkpoints=tmp_path)
    assert_same_weights(whole, resumed)
    assert not found.notes


def test_a_disk_that_takes_no_more_leaves_older_checkpoints_alone(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        run(batches=interrupted_at(5), checkpoints=tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dimlift.records.atomic_write.os.replace", full)
    with pytest.raises(RunError, match="No space left on device; free some space"):
        run(checkpoints=tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    other = torch.nn.Linear(2, 2)
    from dimlift.training.checkpoint import Counters

    save_checkpoint(tmp_path, other, torch.optim.AdamW(other.parameters()), None, Counters(step=3))
    with pytest.raises(RunError, match="another network"):
        run(checkpoints=tmp_path)


class FakeClock:
    """Every look at it takes a hundredth of a second."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("dimlift.training.fit.time", self)

    def perf_counter(self):
        self.now += 0.01
        return self.now


def test_a_budget_of_seconds_ends_with_the_step_that_spends_it(monkeypatch):
    FakeClock(monkeypatch)
    training = TRAINING.model_copy(update={"validate_every": 0})
    _, whole = run(budget=BudgetSection(seconds=2), training=training)
    assert whole.steps in (200, 201)  # a step is one look at its beginning and one at its end
    assert whole.seconds == pytest.approx(2, abs=0.011)
    assert 95 <= len(whole.history) <= 101
    method, rest = run(budget=BudgetSection(seconds=2), training=training, spent=1.5)
    assert rest.steps in (50, 51)
    assert rest.seconds == pytest.approx(2, abs=0.011)
    assert method.heard[0] == 0  # the rate's course begins with training, not with extraction


def test_extraction_that_eats_the_budget_is_refused():
    with pytest.raises(RunError, match="feature extraction took 2 s, the whole budget of 1 s"):
        run(budget=BudgetSection(seconds=1), spent=2)


def test_validation_goes_into_the_history_and_not_into_the_time(monkeypatch):
    clock = FakeClock(monkeypatch)

    def slow(_method):
        clock.now += 1000
        return {"dice": 0.7}

    _, found = run(validate=slow)
    assert [p["step"] for p in found.history if "dice" in p] == [5, 10]
    assert found.seconds == pytest.approx(0.1)


def test_a_loss_that_is_not_finite_stops_and_names_step_and_cases():
    def poisoned(step):
        batch = batch_at(step)
        return batch._replace(image=batch.image * math.inf) if step == 3 else batch

    with pytest.raises(RunError, match=r"step 3 is nan; its patches came from case_3, other"):
        run(batches=poisoned)


def test_memory_that_runs_out_names_the_batch():
    class Hungry(SmallMethod):
        def loss(self, batch):
            raise torch.OutOfMemoryError("no")

    with pytest.raises(RunError, match=r"batch of 2 patches of 6 x 6 x 6 voxels; set training\.batch_size=1"):
        run(Hungry())


def test_the_method_hears_how_far_it_is_before_each_step():
    method, _ = run()
    assert method.heard == [step / 10 for step in range(10)]


def test_progress_ends_at_one_and_never_goes_back():
    events = []
    run(progress=events.append)
    shares = [event.share for event in events]
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert events[-1].step == 10


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run()
    assert torch.equal(torch.rand(3), expected)


def test_no_two_steps_share_a_seed():
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000


@pytest.mark.parametrize(("precision", "computed_in"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_layers_and_weights_stay_float32(precision, computed_in):
    seen = set()
    method = SmallMethod()
    method.last.register_forward_hook(lambda layer, inputs, answer: seen.add(answer.dtype))
    _, found = run(method, training=TRAINING.model_copy(update={"precision": precision}))
    assert seen == {computed_in}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert math.isfinite(found.history[-1]["loss"])
