"""Training tells the truth: numbers that are none stop it, with the batch on disk; what is promised is on record."""

import math

import pytest
import torch
from safetensors.torch import load_file

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train
from dimlift.training.fit import fit
from dimlift.training.reproducibility import determinism, promise, source_commit
from dimlift.training.step import smaller_patch
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", checkpoint_every=1e-9)


def run(method, batches=batch_at, training=TRAINING, **more):
    return fit(method, batches, budget=BudgetSection(steps=6), training=training, seed=3, **more)


def poisoned(step):
    batch = batch_at(step)
    return batch._replace(image=batch.image * math.nan) if step == 4 else batch


def test_the_batch_of_the_first_loss_that_is_no_number_is_kept(tmp_path):
    with pytest.raises(RunError, match=r"loss of step 4 is nan; .* case_4, other; the batch is in .*00000004"):
        run(SmallMethod(), poisoned, checkpoints=tmp_path)
    saved = load_file(tmp_path / "refused-batch-00000004.safetensors")
    assert saved["image"].isnan().all()
    assert torch.equal(saved["label"], batch_at(4).label)
    assert '"case_4"' in (tmp_path / "refused-batch-00000004.json").read_text()


class Explodes(torch.autograd.Function):
    """A finite answer with a gradient that is not."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * math.inf


@pytest.mark.parametrize("clip", [0.0, 12.0])
def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(tmp_path, clip):
    class Steep(SmallMethod):
        def loss(self, batch):
            loss = super().loss(batch)
            return Explodes.apply(loss) if batch.cases[0] == "case_2" else loss

    method = Steep()
    with pytest.raises(RunError, match=r"gradient of step 2 is (inf|nan); .* case_2, other; the batch is in"):
        run(method, training=TRAINING.model_copy(update={"clip": clip}), checkpoints=tmp_path)
    assert all(parameter.isfinite().all() for parameter in method.parameters())


def test_the_longest_axis_is_halved_in_multiples_of_eight():
    assert smaller_patch((64, 96, 128)) == [64, 96, 64]
    assert smaller_patch((40, 40, 24)) == [16, 40, 24]
    assert smaller_patch((8, 8, 8)) == [8, 8, 8]


def test_an_operation_without_a_deterministic_kernel_is_an_error_that_names_it():
    class Careless(SmallMethod):
        def loss(self, batch):
            raise RuntimeError("upsample_trilinear3d_backward_out_cuda does not have a deterministic implementation")

    with pytest.raises(RunError, match="upsample_trilinear3d_backward_out_cuda has no deterministic kernel"):
        run(Careless(), training=TRAINING.model_copy(update={"deterministic": True}))


def test_determinism_is_asked_of_torch_and_taken_back():
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()

    class Asks(SmallMethod):
        asked = None

        def loss(self, batch):
            Asks.asked = torch.are_deterministic_algorithms_enabled()
            return super().loss(batch)

    run(Asks(), training=TRAINING.model_copy(update={"deterministic": True}))
    assert Asks.asked


def test_what_is_promised_depends_on_budget_and_device(monkeypatch):
    steps, seconds = BudgetSection(steps=1), BudgetSection(seconds=1)
    anywhere = TrainingSection()
    assert promise(steps, TRAINING).startswith("bit-exact")
    assert promise(seconds, TRAINING).startswith("statistical")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert promise(steps, anywhere).startswith("statistical")
    assert "or an error" in promise(steps, anywhere.model_copy(update={"deterministic": True}))


def test_the_record_says_what_it_takes_to_repeat_the_run(config_file, tmp_path):
    events = []
    config = load_config(config_file(2, workers=1), ["training.deterministic=true"], TrainConfig)
    record = train(config, tmp_path / "run", events.append)
    found = record.extra["reproducibility"]
    assert found["promise"].startswith("bit-exact")
    assert (found["seed"], found["deterministic"], found["device"]) == (0, True, "cpu")
    assert len(found["data"]) == 64
    assert found["git_commit"] == source_commit()
    assert record.versions["torch"]
    assert f"reproducibility: {found['promise']}" in [event.message for event in events]
