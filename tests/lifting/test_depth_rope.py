"""Rotary positions along depth: identity at first, learnt through a gate, compatible with the network's rotation."""

import pytest
import torch
import torch.nn.functional as F

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError
from dimlift.lifting.fold import Fold, fold_context
from dimlift.lifting.layers.call_interceptor import CallInterceptor
from dimlift.lifting.layers.depth_rope import DepthRotation, rotate_by_depth
from lifting.families import build
from lifting.test_attention_laws import PLAIN

ROTARY = [family for family in PLAIN if family.name in ("vit_small_patch16_dinov3", "eva02_tiny_patch14_224")]


@pytest.fixture(params=ROTARY, ids=lambda family: family.name)
def case(request):
    side = request.param.size
    lifted = dimlift.lift(build(request.param, torch.float64), DepthPlan(kernel=1, attention="volume"))
    return lifted, torch.randn(1, 3, 1, side, side, dtype=torch.float64).expand(-1, -1, 3, -1, -1)


def gates(lifted):
    return {name: p for name, p in lifted.network.named_parameters() if name.endswith("depth_gate")}


def test_depth_gate_starts_at_zero_and_gets_gradients(case):
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


def test_open_depth_gate_distinguishes_slices_and_prevents_flatten(case):
    lifted, slices = case
    dimlift.flatten(lifted)
    before = lifted(slices)[-1]
    with torch.no_grad():
        for gate in gates(lifted).values():
            gate.fill_(0.5)
    after = lifted(slices)[-1]
    torch.testing.assert_close(before[:, :, 0], before[:, :, 1])
    assert (after[:, :, 0] - after[:, :, 1]).abs().max() > 1e-6
    with pytest.raises(LiftError, match="depth_gate is not zero"):
        dimlift.flatten(lifted)


@pytest.mark.parametrize("rotate_halves", [True, False])
def test_depth_rotation_depends_on_slice_distance_only(rotate_halves):
    q, k = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    depth = 6
    with fold_context(Fold(1, depth, depth)):
        gate = torch.full((1,), 0.7, dtype=torch.float64)
        queries, keys = (rotate_by_depth(x.expand(depth, 1, 8), gate, rotate_halves)[:, 0] for x in (q, k))
    scores = queries @ keys.mT
    for gap in range(depth):
        torch.testing.assert_close(scores.diagonal(gap), scores[0, gap].expand(depth - gap))
    assert (scores[0] - scores[0, 0]).abs().amax() > 1e-3


@pytest.mark.parametrize("rotate_halves", [True, False])
def test_depth_rotation_keeps_attention_within_slice(rotate_halves):
    q, k, v = torch.randn(3, 6, 2, 5, 8, dtype=torch.float64)
    gate = torch.full((1,), 0.7, dtype=torch.float64)
    with fold_context(Fold(2, 3, 6)), CallInterceptor(DepthRotation(gate, rotate_halves)):
        outputs = [F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(query=q, key=k, value=v)]
    for out in outputs:
        torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("rotate_halves", [True, False])
def test_depth_rotation_commutes_with_timm_rotation(rotate_halves):
    from timm.layers import apply_rot_embed_cat

    x = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    angles = torch.randn(5, 4, dtype=torch.float64)
    laid = torch.cat([angles, angles], -1) if rotate_halves else angles.repeat_interleave(2, -1)
    own = torch.cat([laid.sin(), laid.cos()], -1)
    gate = torch.ones(1, dtype=torch.float64)
    with fold_context(Fold(1, 3, 3)):
        one = rotate_by_depth(apply_rot_embed_cat(x, own, half=rotate_halves), gate, rotate_halves)
        other = apply_rot_embed_cat(rotate_by_depth(x, gate, rotate_halves), own, half=rotate_halves)
    torch.testing.assert_close(one, other)
