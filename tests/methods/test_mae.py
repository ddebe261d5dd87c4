"""Masked autoencoding of volumes: nothing leaks from masked voxels, and the loss is that of masked blocks alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.batch import IGNORE, VolumeBatch
from dimlift.errors import DataError
from dimlift.methods.mae.kernel_energy import kernel_energy
from dimlift.methods.mae.masking import masked_stages, sample_visible_blocks
from dimlift.methods.mae.method import MaskedVolumeAutoencoder, normalise_blocks
from dimlift.methods.mae.pretraining import require_volumes
from dimlift.models.segmenter import Segmenter

SIZE, BLOCK = (8, 64, 64), (4, 32, 32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    plan = DepthPlan(inflation="average")
    return Segmenter(dimlift.lift("timm:test_resnet", plan, in_chans=1, features_only=True, certify=False), 1)


def visible_blocks(ratio=0.5):
    torch.manual_seed(1)
    return sample_visible_blocks(2, SIZE, BLOCK, ratio)


def image(seed=2):
    return torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.6, 0.99])
def test_each_volume_has_the_same_number_of_masked_blocks(ratio):
    visible = sample_visible_blocks(3, (9, 16, 12), (4, 4, 4), ratio)
    assert visible.shape == (3, 1, 9, 16, 12)
    corners = visible[:, 0, ::4, ::4, ::4].flatten(1)
    assert ((~corners).sum(1) == min(max(round(ratio * 36), 1), 35)).all()
    blocks = corners.view(3, 3, 4, 3).repeat_interleave(4, 1)[:, :9].repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(visible[:, 0], blocks)


def test_output_and_gradient_do_not_depend_on_masked_voxels(model):
    method, visible = MaskedVolumeAutoencoder(model, block=BLOCK), visible_blocks()
    volume = image().requires_grad_()
    out = method(volume, visible)
    assert torch.equal(out, method(torch.where(visible, volume, image(3)), visible))
    (gradient,) = torch.autograd.grad(out.square().sum(), volume)
    assert not bool(gradient[~visible].any())
    assert bool(gradient[visible].any())


def test_stages_are_zero_where_all_voxels_are_masked(model):
    encoder, visible = model.encoder.eval(), visible_blocks()
    masked_volume = image() * visible
    with masked_stages(encoder, visible) as applied:
        inside = encoder(masked_volume)
    assert applied
    leaks = False
    for masked, plain in zip(inside, encoder(masked_volume), strict=True):
        hidden = F.adaptive_max_pool3d(visible.float(), masked.shape[2:]) == 0
        assert bool(hidden.any())
        assert not bool(masked.masked_select(hidden).any())
        leaks |= bool(plain.masked_select(hidden).any())
    assert leaks  # what the mask prevents


def test_networks_that_are_not_lifted_are_masked_at_the_input(model):
    network = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1))
    method, visible = MaskedVolumeAutoencoder(network, block=BLOCK), visible_blocks()
    out = method(image(), visible)
    assert torch.equal(out, network(image() * visible))
    assert method.report()["mask_reapplied_at_stages"] is False


def test_targets_have_zero_mean_and_unit_variance_in_every_block():
    volume = 5 + 3 * torch.randn(2, 2, 9, 8, 6)
    volume[0, 0, :4, :4, :4] = 7.0
    targets, counts = normalise_blocks(volume, (4, 4, 4))
    assert not bool(counts[0, 0, :4, :4, :4].any())
    assert bool(counts[1].all())
    for block in (targets[1, 0, :4, 4:, :4], targets[1, 1, 8:, :4, 4:], targets[0, 1, 4:8, :4, 4:]):
        torch.testing.assert_close(block.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
        torch.testing.assert_close(block.square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_loss_counts_masked_blocks_alone_and_vanishes_for_perfect_predictions():
    volume = image()
    targets, _ = normalise_blocks(volume, BLOCK)
    batch = VolumeBatch(volume, torch.full((2, *SIZE), IGNORE), ("a", "b"))

    class Oracle(nn.Module):
        def forward(self, masked):
            return torch.where(masked == 0, targets, torch.full_like(targets, 99.0))

    assert float(MaskedVolumeAutoencoder(Oracle(), block=BLOCK).loss(batch)) == pytest.approx(0, abs=1e-6)


def test_mean_predictor_has_the_blind_loss():
    class Mean(nn.Module):
        def forward(self, masked):
            return 0 * masked

    method = MaskedVolumeAutoencoder(Mean(), block=BLOCK).eval()
    method.loss(VolumeBatch(image(), torch.full((2, *SIZE), IGNORE), ("a", "b")))
    facts = method.report()
    assert facts["reconstruction_loss"] == pytest.approx(facts["blind_loss"])
    assert facts["blind_loss"] == pytest.approx(1, abs=1e-3)


def test_background_batch_has_a_gradient_of_zero(model):
    batch = VolumeBatch(torch.zeros(1, 1, *SIZE), torch.full((1, *SIZE), IGNORE), ("a",))
    loss = MaskedVolumeAutoencoder(model, block=BLOCK).loss(batch)
    loss.backward()
    assert float(loss.detach()) == 0


def test_kernel_energy_starts_at_the_profile_and_follows_the_weights():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel={"layer3": 3}), in_chans=1, features_only=True)
    energy = kernel_energy(nn.ModuleDict({"encoder": lifted}))
    assert energy == {"stage 3, 3 slices": [0.0, 1.0, 0.0]}
    kernel = next(p for name, p in lifted.named_parameters() if "layer3" in name and p.ndim == 5)
    with torch.no_grad():
        kernel[:, :, 0] = 1.0
    shares = kernel_energy(lifted)["stage 3, 3 slices"]
    total = sum(float(p.detach().square().sum()) for p in lifted.parameters() if p.ndim == 5)
    assert shares[0] == pytest.approx(kernel[:, :, 0].numel() / total, rel=1e-4)
    assert sum(shares) == pytest.approx(1)


def test_pools_that_cannot_be_learned_from_are_refused():
    with pytest.raises(DataError, match="at least 3 volumes, got 2"):
        require_volumes([(8, 8, 8)] * 2, (8, 8, 8))
    with pytest.raises(DataError, match=r"lower training.patch_size"):
        require_volumes([(8, 8, 8)] * 3, (32, 8, 8))
    require_volumes([(8, 8, 8)] * 2 + [(16, 8, 8)], (32, 8, 8))
