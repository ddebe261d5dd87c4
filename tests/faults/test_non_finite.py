"""Non-finite losses and gradients stop training with the batch on disk; reproducibility is recorded."""

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
from dimlift.training.reproducibility import deterministic_mode, git_commit, reproducibility_level
from dimlift.training.step import suggest_patch_size
from small_method import SmallMethod, batch_at

TRAINING = TrainingSection(device="cpu", checkpoint_every=1e-9)


def run(method, batches=batch_at, training=TRAINING, **more):
    return fit(method, batches, budget=BudgetSection(steps=6), training=training, seed=3, **more)


def with_nan(step):
    batch = batch_at(step)
    return batch._replace(image=batch.image * math.nan) if step == 4 else batch


def test_non_finite_loss_saves_its_batch(tmp_path):
    with pytest.raises(RunError, match=r"loss of step 4 is nan; .* case_4, other; the batch is saved in .*00000004"):
        run(SmallMethod(), with_nan, checkpoints=tmp_path)
    saved = load_file(tmp_path / "rejected-batch-00000004.safetensors")
    assert saved["image"].isnan().all()
    assert torch.equal(saved["label"], batch_at(4).label)
    assert '"case_4"' in (tmp_path / "rejected-batch-00000004.json").read_text()


class Explodes(torch.autograd.Function):
    """A finite output with an infinite gradient."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * math.inf


@pytest.mark.parametrize("clip", [0.0, 12.0])
def test_non_finite_gradient_never_reaches_the_weights(tmp_path, clip):
    class Steep(SmallMethod):
        def loss(self, batch):
            loss = super().loss(batch)
            return Explodes.apply(loss) if batch.cases[0] == "case_2" else loss

    method = Steep()
    with pytest.raises(RunError, match=r"gradient of step 2 is (inf|nan); .* case_2, other; the batch is saved in"):
        run(method, training=TRAINING.model_copy(update={"grad_clip_norm": clip}), checkpoints=tmp_path)
    assert all(parameter.isfinite().all() for parameter in method.parameters())


def test_suggest_patch_size_halves_longest_axis():
    assert suggest_patch_size((64, 96, 128)) == [64, 96, 64]
    assert suggest_patch_size((40, 40, 24)) == [16, 40, 24]
    assert suggest_patch_size((8, 8, 8)) == [8, 8, 8]


def test_missing_deterministic_kernel_is_reported():
    class NonDeterministic(SmallMethod):
        def loss(self, batch):
            raise RuntimeError("upsample_trilinear3d_backward_out_cuda does not have a deterministic implementation")

    with pytest.raises(RunError, match="upsample_trilinear3d_backward_out_cuda has no deterministic kernel"):
        run(NonDeterministic(), training=TRAINING.model_copy(update={"deterministic": True}))


def test_deterministic_mode_is_restored():
    with deterministic_mode(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()

    class Recording(SmallMethod):
        enabled = None

        def loss(self, batch):
            Recording.enabled = torch.are_deterministic_algorithms_enabled()
            return super().loss(batch)

    run(Recording(), training=TRAINING.model_copy(update={"deterministic": True}))
    assert Recording.enabled


def test_reproducibility_level_depends_on_budget_and_device(monkeypatch):
    steps, seconds = BudgetSection(steps=1), BudgetSection(seconds=1)
    anywhere = TrainingSection()
    assert reproducibility_level(steps, TRAINING).startswith("bit-exact")
    assert reproducibility_level(seconds, TRAINING).startswith("statistical")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert reproducibility_level(steps, anywhere).startswith("statistical")
    assert "or an error" in reproducibility_level(steps, anywhere.model_copy(update={"deterministic": True}))


def test_record_contains_reproducibility_facts(config_file, tmp_path):
    events = []
    config = load_config(config_file(2, num_workers=1), ["training.deterministic=true"], TrainConfig)
    record = train(config, tmp_path / "run", events.append)
    found = record.extra["reproducibility"]
    assert found["level"].startswith("bit-exact")
    assert (found["seed"], found["deterministic"], found["device"]) == (0, True, "cpu")
    assert len(found["data"]) == 64
    assert found["git_commit"] == git_commit()
    assert record.versions["torch"]
    assert f"reproducibility: {found['level']}" in [event.message for event in events]
