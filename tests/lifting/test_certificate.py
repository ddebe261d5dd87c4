"""The certificate says what was measured, and a lift that broke something does not pass."""

import json

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift
from dimlift.lifting.certify.equivalence import measure, try_flat
from dimlift.lifting.certify.weight_report import compare_shapes
from dimlift.lifting.layers import conv_kernels
from lifting.families import FAMILIES, answers, build

RESNET = next(family for family in FAMILIES if family.name == "test_resnet")


def lift(plan, **options):
    return dimlift.lift(build(RESNET, torch.float32), plan, **options)


def claims(lifted):
    return {claim.law: claim for claim in lifted.certificate.claims}


def test_it_says_what_talks_where_weights_came_from_and_how_long_it_took():
    certificate = lift(DepthPlan(kernel=3), in_channels=1).certificate
    text = str(certificate)
    assert "kernel over 3 slices" in text
    assert "slices: claimed, holds" in text
    assert "constancy: claimed, holds" in text
    assert f"{len(certificate.weights.inflated)} inflated" in text
    assert " s" in text.splitlines()[-1]
    again = json.loads(json.dumps(certificate.to_json()))
    assert again["holds"] is True
    assert [claim["law"] for claim in again["claims"]] == ["slices", "constancy"]
    assert again["seconds"] > 0


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (DepthPlan(profile="average"), "blends slices"),
        (DepthPlan(kernel=2), "no middle slice"),
        (DepthPlan(reduce=(2,)), "depth is reduced"),
        (DepthPlan(pool="joint"), "pool spans slices"),
    ],
)
def test_it_does_not_claim_the_slices_where_they_blend_and_still_measures(plan, reason):
    lifted = dimlift.lift("timm:test_resnet", plan)
    assert not claims(lifted)["slices"].claimed
    assert reason in claims(lifted)["slices"].reason
    assert claims(lifted)["constancy"].claimed
    assert claims(lifted)["constancy"].holds
    assert "not claimed" in str(lifted.certificate)


def test_it_claims_nothing_of_kernels_along_more_axes_but_states_the_error():
    lifted = lift(DepthPlan(kernel="cubic", axes=("depth", "width"), profile="gaussian"))
    for claim in claims(lifted).values():
        assert not claim.claimed
        assert "more axes than depth" in claim.reason
    assert claims(lifted)["constancy"].error > 0.01
    assert lifted.certificate.holds
    with pytest.raises(CannotLift, match=r"conv[\d.]+ was inflated along depth, width"):
        dimlift.flatten(lifted)


def test_a_lift_with_a_tampered_kernel_fails():
    network = build(RESNET, torch.float32)
    trial = try_flat(network, 3, [(64, 64)], lambda x: x)
    plan = DepthPlan(kernel=3)
    lifted = dimlift.lift(network, plan, certify=False)
    assert all(claim.holds for claim in measure(lifted, trial, plan, {}))
    with torch.no_grad():
        next(m for m in lifted.network.modules() if getattr(m, "depth_size", 1) == 3).weight[:, :, 0] += 0.01
    assert not any(claim.holds for claim in measure(lifted, trial, plan, {}))


def test_a_lift_whose_arithmetic_is_wrong_is_refused(monkeypatch):
    right = conv_kernels.convolve_full  # the window one slice too far:
    monkeypatch.setattr(conv_kernels, "convolve_full", lambda x, kernel, how: right(x, kernel.roll(1, 2), how))
    with pytest.raises(CannotLift, match="law of slices should hold"):
        lift(DepthPlan(kernel=3))
    assert lift(DepthPlan(kernel=3), certify=False).certificate is None


def test_an_answer_that_is_not_a_number_is_no_small_error():
    network = build(RESNET, torch.float32)
    trial = try_flat(network, 3, [(64, 64)], lambda x: x)
    lifted = dimlift.lift(network, DepthPlan(), certify=False)
    with torch.no_grad():
        next(lifted.parameters()).fill_(float("nan"))
    assert not any(claim.holds for claim in measure(lifted, trial, DepthPlan(), {}))


def test_every_key_is_accounted_for():
    before = {"a": (4, 3, 3, 3), "b": (4,), "c": (1, 9, 8)}
    report = compare_shapes(before, {"a": (4, 3, 5, 3, 3), "b": (4,), "c": (1, 16, 8), "d": (4, 3)})
    assert report.inflated == {"a": ((4, 3, 3, 3), (4, 3, 5, 3, 3))}
    assert report.copied == ["b"]
    assert report.resized == {"c": ((1, 9, 8), (1, 16, 8))}
    assert report.new == {"d": (4, 3)}


def test_modes_of_the_source_carry_over_and_the_source_keeps_its_own():
    network = build(RESNET, torch.float32).train()
    lifted = dimlift.lift(network)
    assert network.training
    assert lifted.training
    assert all(module.training for module in lifted.network.modules())
    statistics = [b.clone() for b in network.buffers()]
    answers(lifted, torch.randn(1, 3, 3, 64, 64))
    for before, after in zip(statistics, network.buffers(), strict=True):
        torch.testing.assert_close(before, after)
