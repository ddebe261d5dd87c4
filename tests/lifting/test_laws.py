"""The laws, for one architecture of every family: slices, constancy, keys, innocence."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from lifting.families import FAMILIES, answers, build, images

TOLERANCE = 1e-9


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def case(request):
    network = build(request.param, torch.float64)
    slices = images(request.param, 3, 3, torch.float64)
    return network, slices, answers(network, slices)


def error(flat, deep):
    """Largest deviation of a lifted network's answers from those of the slices, relative to the largest of these."""
    worst = 0.0
    for wanted, given in zip(flat, deep, strict=True):
        if given.ndim == 5:
            wanted = wanted if wanted.shape[1] == given.shape[1] else wanted.permute(0, 3, 1, 2)
            given = given[0].transpose(0, 1)
        else:
            wanted = wanted.mean(0, keepdim=True)
        worst = max(worst, float((given - wanted).abs().max() / wanted.abs().max()))
    return worst


def repeated(slices):
    return slices[:1].expand_as(slices)


def volume(slices):
    return slices.transpose(0, 1)[None]


def test_every_slice_answers_as_in_2d(case):
    network, slices, flat = case
    lifted = dimlift.lift(network, DepthPlan(kernel=3, profile="centre"), certify=False)
    assert error(flat, answers(lifted, volume(slices))) < TOLERANCE


def test_a_repeated_slice_answers_as_in_2d_at_the_edges_too(case):
    network, slices, flat = case
    attends = any("ttention" in type(m).__name__ for m in network.modules())
    spans = [m for m in network.modules() if getattr(m, "fused_attn", None) is not None] and attends
    plan = DepthPlan(kernel=2, profile="average", attention="joint" if spans else "slice", pool="joint", norm="joint")
    lifted = dimlift.lift(network, plan, certify=False)
    assert error([repeated(f) for f in flat], answers(lifted, volume(repeated(slices)))) < TOLERANCE


def test_keys_remain_and_flatten_gives_the_weights_back_and_the_source_is_untouched(case):
    network, _, _ = case
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lifted = dimlift.lift(network, DepthPlan(kernel=3, profile="gaussian"), certify=False)
    deep = lifted.network.state_dict()
    for name, tensor in before.items():
        gained = deep[name].ndim - tensor.ndim
        assert gained in (0, 1), name
        assert deep[name].shape == tensor.shape if gained == 0 else deep[name].sum(2).shape == tensor.shape
    flat = dimlift.flatten(lifted)
    assert list(flat) == list(before)
    for name, tensor in before.items():
        torch.testing.assert_close(flat[name], tensor, rtol=1e-12, atol=1e-12)

    theirs = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    ours = {t.untyped_storage().data_ptr() for t in [*lifted.parameters(), *lifted.buffers()]}
    assert not theirs & ours - {0}
    with torch.no_grad():
        for parameter in lifted.parameters():
            parameter.add_(1)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, msg=name)


def test_the_certificate_holds_in_single_precision(case):
    network = case[0]
    certificate = dimlift.lift(network.float(), DepthPlan(kernel=3), in_channels=1).certificate
    network.double()
    if type(network).__name__ == "ConvMixer":  # at these weights nothing of the image arrives at its head
        assert all("do not depend on the image" in claim.reason for claim in certificate.claims)
        return
    assert [claim.claimed for claim in certificate.claims] == [True, True]
    assert certificate.holds
    assert all(claim.error < 1e-4 for claim in certificate.claims)
