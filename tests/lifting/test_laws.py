"""The laws for one architecture of every family: slices, constancy, keys, and an unchanged 2D network."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from lifting.families import FAMILIES, build, images, run_network

TOLERANCE = 1e-9


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def case(request):
    network = build(request.param, torch.float64)
    slices = images(request.param, 3, 3, torch.float64)
    return network, slices, run_network(network, slices)


def error(flat, deep):
    """Return the largest deviation of 3D from 2D outputs, relative to the largest 2D output."""
    worst = 0.0
    for expected, output in zip(flat, deep, strict=True):
        if output.ndim == 5:
            expected = expected if expected.shape[1] == output.shape[1] else expected.permute(0, 3, 1, 2)
            output = output[0].transpose(0, 1)
        else:
            expected = expected.mean(0, keepdim=True)
        worst = max(worst, float((output - expected).abs().max() / expected.abs().max()))
    return worst


def repeated(slices):
    return slices[:1].expand_as(slices)


def volume(slices):
    return slices.transpose(0, 1)[None]


def test_lift_keeps_output_of_every_slice(case):
    network, slices, flat = case
    lifted = dimlift.lift(network, DepthPlan(kernel=3, inflation="centre"), certify=False)
    assert error(flat, run_network(lifted, volume(slices))) < TOLERANCE


def test_lift_keeps_output_of_repeated_slice(case):
    network, slices, flat = case
    attends = any("ttention" in type(m).__name__ for m in network.modules())
    fused = [m for m in network.modules() if getattr(m, "fused_attn", None) is not None] and attends
    attention = "volume" if fused else "per_slice"
    plan = DepthPlan(kernel=2, inflation="average", attention=attention, pool="volume", norm="volume")
    lifted = dimlift.lift(network, plan, certify=False)
    assert error([repeated(f) for f in flat], run_network(lifted, volume(repeated(slices)))) < TOLERANCE


def test_flatten_restores_weights_and_source_is_unchanged(case):
    network, _, _ = case
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lifted = dimlift.lift(network, DepthPlan(kernel=3, inflation="gaussian"), certify=False)
    deep = lifted.network.state_dict()
    for name, tensor in before.items():
        gained = deep[name].ndim - tensor.ndim
        assert gained in (0, 1), name
        assert deep[name].shape == tensor.shape if gained == 0 else deep[name].sum(2).shape == tensor.shape
    flat = dimlift.flatten(lifted)
    assert list(flat) == list(before)
    for name, tensor in before.items():
        torch.testing.assert_close(flat[name], tensor, rtol=1e-12, atol=1e-12)

    storages_2d = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    storages_3d = {t.untyped_storage().data_ptr() for t in [*lifted.parameters(), *lifted.buffers()]}
    assert not storages_2d & storages_3d - {0}
    with torch.no_grad():
        for parameter in lifted.parameters():
            parameter.add_(1)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, msg=name)


def test_certificate_holds_in_single_precision(case):
    network = case[0]
    certificate = dimlift.lift(network.float(), DepthPlan(kernel=3), in_chans=1).certificate
    network.double()
    if type(network).__name__ == "ConvMixer":  # with these weights its logits are constant
        assert all("does not depend on the image" in claim.reason for claim in certificate.claims[:2])
        return
    claims = {claim.law: claim for claim in certificate.claims}
    assert all(claims[law].claimed for law in ("slices", "constancy", "coverage", "location"))
    assert certificate.holds
    assert all(claims[law].error < 1e-4 for law in ("slices", "constancy"))
    assert claims["coverage"].error == 0
