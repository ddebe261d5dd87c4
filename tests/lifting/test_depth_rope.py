"""Rotary positions along depth: nothing at first, learnt through their gate, and a rotation like the network's own."""

import pytest
import torch
import torch.nn.functional as F

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift
from dimlift.lifting.fold import Fold, folded_as
from dimlift.lifting.layers.depth_rope import DepthAngles, turn
from lifting.families import build
from lifting.test_attention_laws import PLAIN

ROTARY = [family for family in PLAIN if family.name in ("vit_small_patch16_dinov3", "eva02_tiny_patch14_224")]


@pytest.fixture(params=ROTARY, ids=lambda family: family.name)
def case(request):
    side = request.param.size
    lifted = dimlift.lift(build(request.param, torch.float64), DepthPlan(kernel=1, attention="joint"))
    return lifted, torch.randn(1, 3, 1, side, side, dtype=torch.float64).expand(-1, -1, 3, -1, -1)


def gates(lifted):
    return {name: p for name, p in lifted.network.named_parameters() if name.endswith("depth_gate")}


def test_the_gate_is_new_zero_and_learns(case):
    lifted, slices = case
    found = gates(lifted)
    assert len(found) == 4
    assert set(lifted.weights_report.new) == set(found)
    assert all(any(gate is p for p in lifted.depth_parameters()) for gate in found.values())
    assert lifted.certificate.holds
    assert not any(gate.any() for gate in found.values())
    volume = slices + torch.randn(slices.shape, dtype=torch.float64)
    lifted(volume)[-1].square().mean().backward()
    assert all(gate.grad.abs() > 0 for gate in found.values())


def test_once_open_it_tells_slices_apart_and_no_2d_network_is_left(case):
    lifted, slices = case
    dimlift.flatten(lifted)
    before = lifted(slices)[-1]
    with torch.no_grad():
        for gate in gates(lifted).values():
            gate.fill_(0.5)
    after = lifted(slices)[-1]
    torch.testing.assert_close(before[:, :, 0], before[:, :, 1])
    assert (after[:, :, 0] - after[:, :, 1]).abs().max() > 1e-6
    with pytest.raises(CannotLift, match="depth_gate is not zero"):
        dimlift.flatten(lifted)


@pytest.mark.parametrize("halves", [True, False])
def test_only_the_distance_between_slices_counts(halves):
    q, k = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    depth = 6
    with folded_as(Fold(1, depth, depth)):
        gate = torch.full((1,), 0.7, dtype=torch.float64)
        queries, keys = (turn(x.expand(depth, 1, 8), gate, halves)[:, 0] for x in (q, k))
    scores = queries @ keys.mT
    for gap in range(depth):
        torch.testing.assert_close(scores.diagonal(gap), scores[0, gap].expand(depth - gap))
    assert (scores[0] - scores[0, 0]).abs().amax() > 1e-3


@pytest.mark.parametrize("halves", [True, False])
def test_within_a_slice_nothing_turns(halves):
    q, k, v = torch.randn(3, 6, 2, 5, 8, dtype=torch.float64)
    gate = torch.full((1,), 0.7, dtype=torch.float64)
    with folded_as(Fold(2, 3, 6)), DepthAngles(gate, halves):
        given = [F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(query=q, key=k, value=v)]
    for answer in given:
        torch.testing.assert_close(answer, F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("halves", [True, False])
def test_it_pairs_channels_as_the_network_does(halves):
    from timm.layers import apply_rot_embed_cat

    x = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    angles = torch.randn(5, 4, dtype=torch.float64)
    laid = torch.cat([angles, angles], -1) if halves else angles.repeat_interleave(2, -1)
    own = torch.cat([laid.sin(), laid.cos()], -1)
    gate = torch.ones(1, dtype=torch.float64)
    with folded_as(Fold(1, 3, 3)):
        one = turn(apply_rot_embed_cat(x, own, half=halves), gate, halves)
        other = apply_rot_embed_cat(turn(x, gate, halves), own, half=halves)
    torch.testing.assert_close(one, other)
