"""Properties of all methods that pretrain point encoders, and their masks."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.geometry.patches import cut_hierarchy, propagate_visibility
from dimlift.methods.crosspoint.method import CrossPoint
from dimlift.methods.i2p_mae.method import I2PMAE
from dimlift.methods.joint_mae.method import JointMAE
from dimlift.methods.point_mae.method import PointMAE
from dimlift.methods.point_pretraining.masking import (
    leakage,
    sample_visible,
    sample_visible_uniformly,
    standardise_scores,
)
from dimlift.methods.teachers.teacher import open_teacher
from small_point_clouds import point_batch, small_network


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return open_teacher("timm:test_vit", dynamic_img_size=True)


METHODS = {
    "point_mae": lambda teacher: PointMAE(small_network(1), decoder_depth=1),
    "point_m2ae": lambda teacher: PointMAE(small_network(), mask_ratio=0.8, decoder_depth=1),
    "i2p_mae": lambda teacher: I2PMAE(small_network(), teacher, render_size=32),
    "joint_mae": lambda teacher: JointMAE(small_network(2), render_size=32),
    "crosspoint": lambda teacher: CrossPoint(
        small_network(), teacher, teacher.frozen.network.num_features, render_size=32
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_pretraining_step_trains_all_parameters_except_the_teacher(name, teacher):
    before = {key: value.clone() for key, value in teacher.frozen.network.state_dict().items()}
    method = METHODS[name](teacher).train()
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(method.loss(point_batch()))
    assert torch.equal(*losses)
    losses[0].backward()
    assert [key for key, value in method.named_parameters() if value.grad is None] == []
    grouped = {id(p) for group in method.param_groups(1.0) for p in group["params"]}
    assert grouped == {id(p) for p in method.parameters()}
    assert not grouped & {id(p) for p in teacher.frozen.network.parameters()}
    assert not teacher.frozen.network.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.frozen.network.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.frozen.network.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_pretraining_lowers_the_loss(name, teacher):
    method = METHODS[name](teacher).train()
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(0)
        loss = method.loss(point_batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_sample_visible_uniformly_masks_the_ratio_rounded_down():
    visible = sample_visible_uniformly(torch.zeros(5, 64, 3), 0.8)
    assert (visible.sum(1) == 13).all()  # int(0.8 * 64) = 51 are masked
    with pytest.raises(ShapeError, match="at least one"):
        sample_visible_uniformly(torch.zeros(1, 4, 3), 0.1)


def test_sample_visible_follows_the_softmax_of_the_scores():
    """Frequencies of a single draw are the softmax, 0.6439, 0.2369, 0.1192, within five standard deviations."""
    scores = torch.tensor([[0.0, -1.0, -1.687]])
    visible = sample_visible(scores.expand(20000, -1), 0.67)
    assert (visible.sum(1) == 1).all()
    torch.testing.assert_close(visible.float().mean(0), scores.softmax(1)[0], atol=0.018, rtol=0)


def test_sample_visible_is_nearly_uniform_at_the_published_temperature():
    """Attention of 64 patches, very uneven: at temperature 1 the most salient quarter has no advantage."""
    torch.manual_seed(0)
    attention = torch.distributions.Dirichlet(torch.full((64,), 0.3)).sample((4000,))
    order = attention.argsort(1)
    lowest, highest = order[:, :16], order[:, 48:]

    def frequencies(scores, temperature):
        visible = sample_visible(scores, 0.8, temperature).float()
        return visible.gather(1, highest).mean().item(), visible.gather(1, lowest).mean().item()

    high, low = frequencies(attention, 1.0)
    assert abs(high - low) < 0.03  # 13 of 64 are visible: 0.203 by chance
    high, low = frequencies(attention, 0.01)
    assert high > 0.4 > 0.2 > low
    high, low = frequencies(standardise_scores(attention), 1.0)
    assert high > 0.35 > 0.2 > low


@pytest.mark.parametrize("levels", [1, 3])
def test_leakage_is_zero_for_distant_patches(levels):
    torch.manual_seed(0)
    points = torch.randn(2, 64, 3)
    points[:, :32, 0] += 1000
    cut = cut_hierarchy(points, (16, 8, 4)[:levels], (4, 2, 2)[:levels])
    visible = propagate_visibility(cut, cut[-1].centres[..., 0] > 500)
    assert leakage(64, cut, min(1, levels - 1), visible) == 0


def test_leakage_is_one_for_patches_of_all_points():
    points = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    cut = cut_hierarchy(points, (4,), (64,))
    assert leakage(64, cut, 0, [torch.tensor([[True, False, False, False]] * 2)]) == 1


def test_leakage_counts_visible_finer_tokens():
    torch.manual_seed(0)
    cut = cut_hierarchy(torch.randn(2, 64, 3), (16, 8, 4), (4, 4, 2))
    visible = propagate_visibility(cut, sample_visible_uniformly(cut[-1].centres, 0.5))
    leaked = [
        bool(visible[0][row, token])
        for row in range(2)
        for patch in range(8)
        for token in cut[1].members[row, patch]
        if not visible[1][row, patch]
    ]
    assert 0 < sum(leaked) < len(leaked)
    assert leakage(64, cut, 1, visible).item() == pytest.approx(sum(leaked) / len(leaked))
