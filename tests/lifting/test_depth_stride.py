"""Strides along depth: equal to a Conv3d ResNet of the same weights, constancy, and figures that follow the plan."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import PlanError, UnknownNameError
from dimlift.lifting.depth_summary import depth_summary
from lifting.conv3d_resnet import Conv3dResNet18, load_by_key, randomise

STAGES = (1, 2, 2, 2, 2)


def lifted_resnet(name="timm:resnet18", certify=False, **plan):
    return dimlift.lift(name, DepthPlan(**plan), in_chans=1, features_only=True, certify=certify).eval()


@pytest.mark.parametrize("depth", [9, 16])
@pytest.mark.parametrize("stem", [1, 2])
def test_lifted_resnet_equals_conv3d_resnet_of_same_weights(stem, depth):
    lifted = lifted_resnet(depth_stride=(stem, 2, 2, 2, 2), depth_padding="zero")
    randomise(lifted.network)
    independent = Conv3dResNet18(1, stem).eval()
    load_by_key(independent, lifted.network.state_dict())
    volume = torch.randn(2, 1, depth, 50, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = lifted(volume), independent(volume)
    assert len(ours) == len(theirs) == 5
    for ours_map, theirs_map in zip(ours, theirs, strict=True):
        assert ours_map.shape == theirs_map.shape
        assert float((ours_map - theirs_map).abs().max() / theirs_map.abs().max()) < 1e-4


@pytest.mark.parametrize(
    "name", ["timm:resnet18", "timm:resnet18d", "timm:resnetv2_18", "timm:efficientnet_lite0", "torchvision:resnet18"]
)
@pytest.mark.parametrize("inflation", ["centre", "average"])
def test_repeated_slice_keeps_its_output_and_strides_are_true(name, inflation):
    lifted = lifted_resnet(name, depth_stride=STAGES, inflation=inflation, pool="volume", norm="volume", certify=True)
    claims = {claim.law: claim for claim in lifted.certificate.claims}
    assert claims["constancy"].claimed
    assert claims["constancy"].error < 1e-4
    assert not claims["slices"].claimed
    assert claims["coverage"].holds
    assert claims["location"].holds
    assert [stride[0] for stride in lifted.strides] == [1, 2, 4, 8, 16]
    with torch.no_grad():
        assert [m.shape[2] for m in lifted(torch.zeros(1, 1, 19, 64, 64))] == [19, 10, 5, 3, 2]


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("padding", ["replicate", "zero"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_equals_conv3d_for_odd_and_even_depths(groups, padding, factorised):
    conv = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, groups=groups)).double()
    plan = DepthPlan(inflation="gaussian:0.8", depth_stride={"0": 3}, depth_padding=padding, factorised=factorised)
    lifted = dimlift.lift(conv, plan, certify=False)
    layer = lifted.network[0]
    kernel = layer.weight
    if factorised:
        kernel = kernel[:, :, None] * layer.depth_profile[:, None, :, None, None]
    for depth in (1, 2, 6, 7, 8):
        volume = torch.randn(2, 4, depth, 9, 9, dtype=torch.float64)
        mode = "replicate" if padding == "replicate" else "constant"
        padded = nn.functional.pad(volume, (0, 0, 0, 0, 1, 1), mode=mode)
        expected = nn.functional.conv3d(padded, kernel, layer.bias, (3, 2, 2), (0, 1, 1), 1, groups)
        torch.testing.assert_close(lifted(volume), expected)


def test_gradients_equal_conv3d():
    conv = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1)).double()
    lifted = dimlift.lift(conv, DepthPlan(depth_stride={"0": 2}, depth_padding="zero"), certify=False)
    volume = torch.randn(1, 2, 5, 6, 6, dtype=torch.float64)
    weight = lifted.network[0].weight
    expected = nn.functional.conv3d(volume, weight, lifted.network[0].bias, 2, 1)
    ours = torch.autograd.grad(lifted(volume).square().sum(), weight)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected.square().sum(), weight)[0])


def test_zero_padding_keeps_constancy_for_centre_inflation_only():
    centre = lifted_resnet(depth_padding="zero", certify=True)
    assert all(claim.claimed for claim in centre.certificate.claims)
    average = lifted_resnet(depth_padding="zero", inflation="average", certify=True)
    claim = next(claim for claim in average.certificate.claims if claim.law == "constancy")
    assert not claim.claimed
    assert "zeros" in claim.reason
    assert claim.error > 1e-2


def test_slices_without_weight_are_stated():
    lifted = lifted_resnet(depth_stride=(2,), certify=True)
    claim = next(claim for claim in lifted.certificate.claims if claim.law == "coverage")
    assert not claim.claimed
    assert "pass over slices" in claim.reason
    read = lifted_resnet(depth_stride=(2,), inflation="average", certify=True)
    assert next(claim for claim in read.certificate.claims if claim.law == "coverage").claimed


def test_certificate_and_summary_name_the_strided_layers():
    lifted = lifted_resnet(depth_stride=STAGES, certify=True)
    layers = {layer.name: layer.description for layer in lifted.certificate.layers}
    assert layers["maxpool"] == "maximum over 3 slices, stride 2 along depth"
    assert layers["layer2.0.downsample.0"].endswith("stride 2 along depth")
    assert [stage["stride"][0] for stage in depth_summary(lifted)] == [1, 2, 4, 8, 16]
    assert [stage["reach"] for stage in depth_summary(lifted)] == [3, 6, 12, 24, 48]


def test_checkpointing_and_flatten_survive_strides():
    lifted = lifted_resnet(depth_stride=STAGES, inflation="average").train()
    volume = torch.randn(1, 1, 6, 64, 64)
    lifted(volume)[-1].sum().backward()
    expected = {name: p.grad.clone() for name, p in lifted.named_parameters() if p.grad is not None}
    lifted.zero_grad()
    lifted.set_grad_checkpointing()
    lifted(volume)[-1].sum().backward()
    for name, parameter in lifted.named_parameters():
        if name in expected:
            torch.testing.assert_close(
                parameter.grad, expected[name], rtol=1e-3, atol=1e-3 * expected[name].abs().max()
            )
    weights = dimlift.flatten(lifted)
    assert weights["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"depth_stride": (0,)}, PlanError, "at least 1"),
        ({"depth_stride": (1,) * 5 + (2,)}, PlanError, "has 5 stages"),
        ({"depth_stride": {"layer1": 2}}, PlanError, "no convolution or pool"),
        ({"depth_stride": {"layer9": 2}}, UnknownNameError, "layer9"),
        ({"depth_stride": {"layer2.0.conv1": 2}}, PlanError, "branches of a block"),
        ({"depth_stride": (2,), "stride": "kernel"}, PlanError, "set only one"),
        ({"depth_stride": (2,), "spacing": (3.0, 1.0, 1.0)}, PlanError, "set only one"),
        ({"depth_padding": "zero", "stride": "kernel"}, PlanError, "tubelets"),
        ({"depth_padding": "reflect"}, UnknownNameError, "reflect"),
    ],
)
def test_strides_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        lifted_resnet(**options)


def test_strides_by_stage_need_stages():
    with pytest.raises(PlanError, match="name its layers"):
        dimlift.lift(nn.Sequential(nn.Conv2d(1, 2, 3, 2)), DepthPlan(depth_stride=(2,)))


def test_strided_network_compiles_to_one_graph():
    layers = [nn.Conv2d(1, 4, 3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 2, 1, 2), nn.Conv2d(2, 2, 3, padding=1)]
    lifted = dimlift.lift(nn.Sequential(*layers), DepthPlan(depth_stride={"0": 2, "1": 2, "2": 2}), certify=False)
    compiled = torch.compile(lifted, backend="eager", fullgraph=True)
    for depth in (9, 4):
        volume = torch.randn(2, 1, depth, 32, 32)
        torch.testing.assert_close(compiled(volume), lifted(volume))
