"""The certificate states what was measured, and a lift that breaks a law fails."""

import json

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError
from dimlift.lifting.certify.equivalence import check_equivalence, run_2d
from dimlift.lifting.certify.weight_report import compare_shapes
from dimlift.lifting.layers import conv_kernels
from lifting.families import FAMILIES, build, run_network

RESNET = next(family for family in FAMILIES if family.name == "test_resnet")


def lift(plan, **options):
    return dimlift.lift(build(RESNET, torch.float32), plan, **options)


def claims(lifted):
    return {claim.law: claim for claim in lifted.certificate.claims}


def test_certificate_states_layers_weights_and_time():
    certificate = lift(DepthPlan(kernel=3), in_chans=1).certificate
    text = str(certificate)
    assert "kernel over 3 slices" in text
    assert "slices: claimed, holds" in text
    assert "constancy: claimed, holds" in text
    assert f"{len(certificate.weights.inflated)} inflated" in text
    assert " s" in text.splitlines()[-1]
    content = json.loads(json.dumps(certificate.to_json()))
    assert content["holds"] is True
    assert [claim["law"] for claim in content["claims"]] == ["slices", "constancy", "coverage", "location"]
    assert content["seconds"] > 0


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (DepthPlan(inflation="average"), "averages over slices"),
        (DepthPlan(kernel=2), "no middle slice"),
        (DepthPlan(depth_pool=(2,)), "depth is pooled"),
        (DepthPlan(pool="volume"), "pool spans slices"),
    ],
)
def test_certificate_measures_unclaimed_slices(plan, reason):
    lifted = dimlift.lift("timm:test_resnet", plan)
    assert not claims(lifted)["slices"].claimed
    assert reason in claims(lifted)["slices"].reason
    assert claims(lifted)["constancy"].claimed
    assert claims(lifted)["constancy"].holds
    assert "not claimed" in str(lifted.certificate)


def test_certificate_claims_no_law_for_kernels_along_more_axes():
    lifted = lift(DepthPlan(kernel="cubic", axes=("depth", "width"), inflation="gaussian"))
    for claim in (claims(lifted)["slices"], claims(lifted)["constancy"]):
        assert not claim.claimed
        assert "more axes than depth" in claim.reason
    assert claims(lifted)["constancy"].error > 0.01
    assert lifted.certificate.holds
    with pytest.raises(LiftError, match=r"conv[\d.]+ was inflated along depth, width"):
        dimlift.flatten(lifted)


def test_check_equivalence_detects_changed_kernel():
    network = build(RESNET, torch.float32)
    check = run_2d(network, 3, 3, [(64, 64)], lambda x: x)
    plan = DepthPlan(kernel=3)
    lifted = dimlift.lift(network, plan, certify=False)
    assert all(claim.holds for claim in check_equivalence(lifted, check, plan, {}))
    with torch.no_grad():
        next(m for m in lifted.network.modules() if getattr(m, "depth_kernel_size", 1) == 3).weight[:, :, 0] += 0.01
    assert not any(claim.holds for claim in check_equivalence(lifted, check, plan, {}))


def test_lift_fails_on_wrong_convolution(monkeypatch):
    correct = conv_kernels.conv_full  # shifted by one slice:
    monkeypatch.setattr(conv_kernels, "conv_full", lambda x, kernel, args: correct(x, kernel.roll(1, 2), args))
    with pytest.raises(LiftError, match="law of slices should hold"):
        lift(DepthPlan(kernel=3))
    assert lift(DepthPlan(kernel=3), certify=False).certificate is None


def test_check_equivalence_treats_nan_as_infinite_error():
    network = build(RESNET, torch.float32)
    check = run_2d(network, 3, 3, [(64, 64)], lambda x: x)
    lifted = dimlift.lift(network, DepthPlan(), certify=False)
    with torch.no_grad():
        next(lifted.parameters()).fill_(float("nan"))
    assert not any(claim.holds for claim in check_equivalence(lifted, check, DepthPlan(), {}))


def test_compare_shapes_classifies_every_key():
    before = {"a": (4, 3, 3, 3), "b": (4,), "c": (1, 9, 8)}
    report = compare_shapes(before, {"a": (4, 3, 5, 3, 3), "b": (4,), "c": (1, 16, 8), "d": (4, 3)})
    assert report.inflated == {"a": ((4, 3, 3, 3), (4, 3, 5, 3, 3))}
    assert report.copied == ["b"]
    assert report.resized == {"c": ((1, 9, 8), (1, 16, 8))}
    assert report.new == {"d": (4, 3)}


def test_lift_keeps_training_modes():
    network = build(RESNET, torch.float32).train()
    lifted = dimlift.lift(network)
    assert network.training
    assert lifted.training
    assert all(module.training for module in lifted.network.modules())
    statistics = [b.clone() for b in network.buffers()]
    run_network(lifted, torch.randn(1, 3, 3, 64, 64))
    for before, after in zip(statistics, network.buffers(), strict=True):
        torch.testing.assert_close(before, after)
