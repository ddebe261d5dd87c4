"""Every inflation by its name, through a whole network: what is claimed, what is measured, what is refused."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift, PlanError
from lifting.families import FAMILIES, answers, build

BY_NAME = {family.name: family for family in FAMILIES}


def network(name="test_resnet"):
    return build(BY_NAME[name], torch.float32)


def claims(lifted):
    return {claim.law: claim for claim in lifted.certificate.claims}


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("profile", ["average", "gaussian", "gaussian:0.75", "box3", "kienzle_1g_as_published"])
def test_profiles_promise_constancy(profile, factorised):
    lifted = dimlift.lift(network(), DepthPlan(kernel=4, profile=profile, factorised=factorised))
    assert claims(lifted)["constancy"].claimed
    assert not claims(lifted)["slices"].claimed


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (DepthPlan(kernel="cubic", profile="acs"), "acs turns kernels"),
        (DepthPlan(profile="soft_acs"), "soft_acs turns kernels"),
        (DepthPlan(profile="random"), "depth is random"),
        (DepthPlan(profile="random", factorised=True), "depth is random"),
        (DepthPlan(kernel="cubic", profile="gaussian", axes=("depth", "width", "height")), "more axes than depth"),
    ],
)
def test_others_promise_nothing_and_are_measured(plan, reason):
    lifted = dimlift.lift(network(), plan)
    for claim in claims(lifted).values():
        assert not claim.claimed
        assert reason in claim.reason
        assert claim.error > 0.01
    assert lifted.certificate.holds
    again = DepthPlan.from_json(plan.to_json())
    assert again == plan


def test_without_a_talking_layer_everything_is_promised():
    assert all(claim.claimed for claim in claims(dimlift.lift(network(), DepthPlan(kernel=1))).values())


def test_layers_that_cannot_be_turned_get_depth_in_their_centre_and_are_listed_apart():
    lifted = dimlift.lift(network("convnext_atto"), DepthPlan(kernel=7, profile="acs"))
    text = str(lifted.certificate)
    assert "acs kernel over 7 slices: " in text
    assert "  kernel over 7 slices: " in text
    with pytest.raises(PlanError, match="acs need cubic kernels and this network would have none"):
        dimlift.lift(network(), DepthPlan(kernel=5, profile="acs"))


def test_flatten_of_a_turned_kernel_names_the_layer():
    with pytest.raises(CannotLift, match=r"conv[\d.]+ was inflated as acs"):
        dimlift.flatten(dimlift.lift(network(), DepthPlan(profile="acs"), certify=False))


def test_flatten_of_random_depth_is_the_answer_to_a_repeated_slice():
    lifted = dimlift.lift(network(), DepthPlan(profile="random"), certify=False).eval()
    flat = network()
    flat.load_state_dict(dimlift.flatten(lifted))
    slice_ = torch.randn(1, 3, 64, 64)
    for a, b in zip(answers(flat, slice_), answers(lifted, slice_[:, :, None]), strict=True):
        torch.testing.assert_close(a, b[:, :, 0], rtol=1e-3, atol=1e-4)


def test_a_standardised_kernel_refuses_what_would_undo_its_statistics():
    with pytest.raises(CannotLift, match=r"standardises its kernel.*or factorised=True"):
        dimlift.lift(network("test_nfnet"), DepthPlan(profile="random"), certify=False)
    dimlift.lift(network("test_nfnet"), DepthPlan(profile="random", factorised=True), certify=False)


@pytest.mark.parametrize("axes", [("depth",), ("depth", "width"), ("depth", "width", "height")])
@pytest.mark.parametrize(("profile", "k"), [("gaussian", 3), ("centre", 3), ("average", 4)])
def test_standardising_and_inflating_change_places(axes, profile, k):
    """A standardised kernel inflated along any axes is the inflated kernel of a plain layer that was standardised."""
    from timm.layers import StdConv2d

    plan = DepthPlan(kernel="cubic", profile=profile, axes=axes)
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
