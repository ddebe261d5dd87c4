"""The blind baseline of masked point autoencoders, and that pretraining ends below it."""

import pytest
import torch

from dimlift.batch import PointBatch
from dimlift.methods.point_mae.method import PointMAE
from dimlift.methods.point_pretraining.blind_baseline import fit_blind_baseline
from dimlift.models.point_classifier import PointCloudClassifier
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder
from dimlift.studies.pretrain import describe_result
from small_point_clouds import point_batch, small_network


def test_blind_baseline_learns_what_follows_from_the_centre():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(400, 3, generator=generator)
    patch = 0.3 * torch.randn(6, 3, generator=generator)
    follows = patch * (1 + centres[:, :1, None].tanh())
    assert fit_blind_baseline(centres, follows) < 0.05 * follows.square().sum(-1).mean()
    sign = (torch.rand(400, 1, 1, generator=generator) > 0.5) * 2.0 - 1.0
    hidden = (torch.tensor([[0.3, 0.0, 0.0]]) + 0.01 * patch) * sign  # one of two sides, which no centre tells
    assert fit_blind_baseline(centres, hidden) > 0.5 * 0.3**2


def test_blind_baseline_leaves_the_random_state_unchanged_and_repeats():
    centres, targets = torch.randn(20, 3), torch.randn(20, 4, 3)
    state = torch.get_rng_state()
    assert fit_blind_baseline(centres, targets) == fit_blind_baseline(centres, targets)
    assert torch.equal(state, torch.get_rng_state())
    assert fit_blind_baseline(centres[:7], targets[:7]) is None


def test_report_compares_the_loss_with_the_blind_baseline():
    method = PointMAE(small_network(), mask_ratio=0.8, decoder_depth=1)
    method.eval()
    losses = [float(method.loss(point_batch(4)).detach()) for _ in range(3)]
    report = method.report()
    assert report["reconstruction_loss"] == pytest.approx(sum(losses) / 3)
    assert report["blind_loss"] > 0


def test_the_printed_line_says_when_only_positions_were_learned():
    assert describe_result(5, {}) == "5 steps"
    below = describe_result(5, {"reconstruction_loss": 0.01, "blind_loss": 0.02})
    assert "0.01" in below
    assert "0.02" in below
    assert "train longer" not in below
    assert "train longer" in describe_result(5, {"reconstruction_loss": 0.02, "blind_loss": 0.02})


def shapes(step: int) -> PointBatch:
    """Surfaces of boxes and ellipsoids of random proportions, which visible patches tell apart."""
    generator = torch.Generator().manual_seed(step)
    points = torch.randn(16, 128, 3, generator=generator)
    box = points / points.abs().amax(-1, keepdim=True)
    round_ = points / points.norm(dim=-1, keepdim=True)
    sides = 0.3 + 0.7 * torch.rand(16, 1, 3, generator=generator)
    points = torch.where((torch.rand(16, 1, 1, generator=generator) > 0.5), box, round_) * sides
    return PointBatch(points / points.norm(dim=-1).amax(1)[:, None, None], None, tuple(map(str, range(16))))


@pytest.mark.slow
def test_a_thousand_steps_beat_the_blind_baseline():
    torch.manual_seed(0)
    encoder = PointM2AEEncoder((24,), (16,), (96,), (3,), 3)
    method = PointMAE(PointCloudClassifier(encoder, 0), decoder_depth=1)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3, weight_decay=0.05)
    for step in range(1000):
        optimizer.zero_grad()
        method.loss(shapes(step)).backward()
        optimizer.step()
    method.eval()
    for step in range(1000, 1020):
        method.loss(shapes(step))
    report = method.report()
    assert report["reconstruction_loss"] < 0.9 * report["blind_loss"]
