"""Every inflation by name, in a whole network: claims, measured errors and refusals."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError
from lifting.families import FAMILIES, build, run_network

BY_NAME = {family.name: family for family in FAMILIES}


def network(name="test_resnet"):
    return build(BY_NAME[name], torch.float32)


def claims(lifted):
    return {claim.law: claim for claim in lifted.certificate.claims}


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("profile", ["average", "gaussian", "gaussian:0.75", "box3", "kienzle_1g_as_published"])
def test_profiles_guarantee_constancy(profile, factorised):
    lifted = dimlift.lift(network(), DepthPlan(kernel=4, inflation=profile, factorised=factorised))
    assert claims(lifted)["constancy"].claimed
    assert not claims(lifted)["slices"].claimed


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (DepthPlan(kernel="cubic", inflation="acs"), "acs orients kernels"),
        (DepthPlan(inflation="soft_acs"), "soft_acs orients kernels"),
        (DepthPlan(inflation="random"), "depth weights are random"),
        (DepthPlan(inflation="random", factorised=True), "depth weights are random"),
        (DepthPlan(kernel="cubic", inflation="gaussian", axes=("depth", "width", "height")), "more axes than depth"),
    ],
)
def test_other_inflations_claim_no_law_of_depth_and_are_measured(plan, reason):
    lifted = dimlift.lift(network(), plan)
    for law in ("slices", "constancy"):
        claim = claims(lifted)[law]
        assert not claim.claimed
        assert reason in claim.reason
        assert claim.error > 0.01
    assert claims(lifted)["coverage"].error == 0
    assert lifted.certificate.holds
    assert DepthPlan.from_json(plan.to_json()) == plan


def test_plan_without_depth_mixing_claims_both_laws():
    assert all(claim.claimed for claim in claims(dimlift.lift(network(), DepthPlan(kernel=1))).values())


def test_acs_inflates_other_kernels_at_their_centre():
    lifted = dimlift.lift(network("convnext_atto"), DepthPlan(kernel=7, inflation="acs"))
    text = str(lifted.certificate)
    assert "acs kernel over 7 slices: " in text
    assert "  kernel over 7 slices: " in text
    with pytest.raises(PlanError, match="acs need cubic kernels and this network would have none"):
        dimlift.lift(network(), DepthPlan(kernel=5, inflation="acs"))


def test_flatten_rejects_oriented_kernel_by_name():
    with pytest.raises(LiftError, match=r"conv[\d.]+ was inflated as acs"):
        dimlift.flatten(dimlift.lift(network(), DepthPlan(inflation="acs"), certify=False))


def test_flatten_of_random_depth_keeps_output_of_repeated_slice():
    lifted = dimlift.lift(network(), DepthPlan(inflation="random"), certify=False).eval()
    flat = network()
    flat.load_state_dict(dimlift.flatten(lifted))
    slice_ = torch.randn(1, 3, 64, 64)
    for a, b in zip(run_network(flat, slice_), run_network(lifted, slice_[:, :, None]), strict=True):
        torch.testing.assert_close(a, b[:, :, 0], rtol=1e-3, atol=1e-4)


def test_standardised_kernel_rejects_random_depth_unless_factorised():
    with pytest.raises(LiftError, match=r"standardises its kernel.*or factorised=True"):
        dimlift.lift(network("test_nfnet"), DepthPlan(inflation="random"), certify=False)
    dimlift.lift(network("test_nfnet"), DepthPlan(inflation="random", factorised=True), certify=False)


@pytest.mark.parametrize("axes", [("depth",), ("depth", "width"), ("depth", "width", "height")])
@pytest.mark.parametrize(("profile", "k"), [("gaussian", 3), ("centre", 3), ("average", 4)])
def test_standardising_and_inflating_commute(axes, profile, k):
    """A standardised kernel that is inflated equals the inflated kernel of a plain layer that was standardised."""
    from timm.layers import StdConv2d

    plan = DepthPlan(kernel="cubic", inflation=profile, axes=axes)
    torch.manual_seed(0)
    standardised = StdConv2d(3, 4, k, padding=0, bias=False, eps=1e-6).double()
    plain = torch.nn.Conv2d(3, 4, k, bias=False).double()
    variance, mean = torch.var_mean(standardised.weight.detach(), (1, 2, 3), keepdim=True, correction=0)
    plain.weight.data = (standardised.weight.data - mean) * torch.rsqrt(variance + 1e-6)
    volume = torch.randn(1, 3, 6, 9, 9, dtype=torch.float64)
    one, other = (
        dimlift.lift(torch.nn.Sequential(conv), plan, certify=False)(volume) for conv in (standardised, plain)
    )
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
