"""DepthPlan: its own checks, its checks against a network, and plans that follow the spacing."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError, UnknownNameError


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kernel": 0}, PlanError, "of at least 1, got 0"),
        ({"kernel": "cube"}, UnknownNameError, "cubic"),
        ({"kernel": {"layer1": 0}}, PlanError, "of at least 1, got 0"),
        ({"inflation": "gauss"}, UnknownNameError, "average, box3, centre, gaussian, gaussian:SIGMA"),
        ({"inflation": torch.ones}, PlanError, "sum to 3"),
        ({"axes": ()}, PlanError, "at least 'depth'"),
        ({"axes": ("depth", "time")}, UnknownNameError, "depth, height, width"),
        ({"axes": ("depth", "width"), "factorised": True}, PlanError, "along depth only"),
        ({"inflation": "acs", "factorised": True}, PlanError, "acs rotates kernels.*factorised=False"),
        ({"inflation": "acs", "axes": ("depth", "width")}, PlanError, "sets the axes of kernels itself"),
        ({"inflation": "gaussian:wide"}, PlanError, "no number as its sigma"),
        ({"inflation": "gaussian:0"}, PlanError, "sigma > 0"),
        ({"stride": "cubic"}, UnknownNameError, "first_conv, kernel, none"),
        ({"stride": "first_conv", "kernel": "cubic"}, PlanError, "needs a number of slices as the kernel, got 'cubic'"),
        ({"depth_pool": (1, 0)}, PlanError, "of at least 1"),
        ({"attention": "windows"}, UnknownNameError, "volume"),
        ({"attention": 0}, PlanError, "number of slices of at least 1"),
        ({"pool": "all"}, UnknownNameError, "per_slice, volume"),
        ({"pool": 1}, UnknownNameError, "per_slice, volume"),
        ({"slice_pool": "sum"}, UnknownNameError, "attention, max, mean, none"),
    ],
)
def test_depth_plan_rejects_invalid_fields(fields, error, message):
    with pytest.raises(error, match=message):
        DepthPlan(**fields)


def test_depth_plan_round_trips_through_json():
    plan = DepthPlan(
        kernel={"stage0": 1, "layer2": 3}, inflation="gaussian", depth_pool=(1, 2), attention=4, slice_pool="max"
    )
    assert DepthPlan.from_json(plan.to_json()) == plan
    with pytest.raises(UnknownNameError, match="kernel"):
        DepthPlan.from_json({"kernal": 3})
    with pytest.raises(PlanError, match="custom inflation"):
        DepthPlan(inflation=lambda k: torch.full((k,), 1 / k)).to_json()


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 1), (1, float("nan"), 1), (-1, 1, 1), ("5", 1, 1), (1, 1, 1, 1)])
def test_spacing_must_be_three_positive_numbers(spacing):
    with pytest.raises(PlanError, match="three positive numbers"):
        DepthPlan(spacing=spacing)


STRIDES = (4, 8, 16, 32)


def kernels(plan):
    return tuple(plan.kernel[f"stage{i}"] for i in range(4))


def test_spacing_delays_depth_mixing_until_voxels_are_nearly_isotropic():
    thick = DepthPlan(spacing=(5.0, 0.8, 0.8)).for_stages(STRIDES)  # pixels 3.2, 6.4, 12.8, 25.6 mm
    assert kernels(thick) == (3, 3, 3, 3)
    assert thick.depth_pool == (1, 2, 2, 2)
    thicker = DepthPlan(spacing=(10.0, 0.7, 0.7)).for_stages(STRIDES)  # pixels 2.8, 5.6, 11.2, 22.4 mm
    assert kernels(thicker)[0] == 1
    assert kernels(thicker)[2:] == (3, 3)
    assert thicker.depth_pool == (1, 1, 2, 2)
    isotropic = DepthPlan(spacing=(1.0, 1.0, 1.0)).for_stages(STRIDES)
    assert kernels(isotropic) == (3, 3, 3, 3)
    assert isotropic.depth_pool == (2, 2, 2, 2)


def test_spacing_never_pools_slices_beyond_twice_the_pixel_distance():
    for slice_distance in (0.3, 1.0, 2.5, 5.0, 12.0):
        plan = DepthPlan(spacing=(slice_distance, 0.8, 0.8)).for_stages(STRIDES)
        for kernel, factor, stride in zip(kernels(plan), plan.depth_pool, STRIDES, strict=True):
            assert (kernel > 1) == (slice_distance < 2 * 0.8 * stride)
            slice_distance *= factor
            assert factor == 1 or slice_distance <= 2 * 0.8 * stride


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm:test_resnet", {}),
        ("timm:test_resnet", {"stem_stride": 1}),
        ("timm:test_resnet", {"upsample": 2}),
        ("timm:test_resnet", {"num_stages": 2}),
        ("timm:test_convnext", {}),
        ("packaged:efficientnet_lite0", {}),
    ],
)
def test_spacing_uses_strides_of_lifted_network(name, options):
    plan = DepthPlan(spacing=(2.0, 1.0, 1.0))
    lifted = dimlift.lift(name, plan, features_only=True, certify=False, **options)
    previous = 1
    for index, (depth, *in_plane) in enumerate(lifted.strides):
        assert (lifted.plan.kernel[f"stage{index}"] > 1) == (2.0 * previous < 2 * min(in_plane))
        assert depth == previous * (2 if 2 * 2.0 * previous <= 2 * min(in_plane) else 1)
        previous = depth
    assert previous > 1 or options


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"depth_pool": (1, 2)}, "depth_pool"), ({"stride": "kernel"}, "stride"), ({"kernel": "cubic"}, "kernel")],
)
def test_spacing_rejects_fields_it_decides(fields, name):
    with pytest.raises(PlanError, match=f"^{name}=.* with spacing"):
        DepthPlan(spacing=(1.0, 1.0, 1.0), **fields)


def test_spacing_needs_stages():
    with pytest.raises(PlanError, match="no feature_info"):
        dimlift.lift(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), DepthPlan(spacing=(1.0, 1.0, 1.0)))


def test_kernel_by_stage_inflates_named_stages_only():
    lifted = dimlift.lift(
        "timm:test_resnet", DepthPlan(kernel={"stage0": 1, "stage1": 5, "stage3": 3}), features_only=True
    )
    depths = {name: shapes[1][2] for name, shapes in lifted.weights_report.inflated.items()}
    assert {name.split(".")[0]: depth for name, depth in depths.items()} == {"layer1": 5, "layer3": 3}


def test_kernel_by_layer_inflates_named_layer_only():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel={"layer2.0.conv2": 3}))
    assert list(lifted.weights_report.inflated) == ["layer2.0.conv2.weight"]
    with pytest.raises(UnknownNameError, match=r"nearest: .*layer1"):
        dimlift.lift("timm:test_resnet", DepthPlan(kernel={"layr1": 3}))


def test_lift_rejects_plan_that_does_not_fit_the_network():
    network = nn.Sequential(nn.Conv2d(3, 4, (1, 3)), nn.ReLU())
    with pytest.raises(PlanError, match=r"need cubic kernels.*3x1"):
        dimlift.lift(network, DepthPlan(axes=("depth", "width")))
    with pytest.raises(PlanError, match="no feature_info"):
        dimlift.lift(network, DepthPlan(depth_pool=(2,)))
    with pytest.raises(PlanError, match="has 5; give depth_pool 5"):
        dimlift.lift("timm:test_resnet", DepthPlan(depth_pool=(1, 1, 1, 1, 1, 2)), features_only=True)
    with pytest.raises(PlanError, match="no attention"):
        dimlift.lift("timm:test_resnet", DepthPlan(attention="volume"))


def test_lift_rejects_other_inputs():
    network = nn.Sequential(nn.Conv2d(3, 4, (1, 3)), nn.ReLU())
    with pytest.raises(LiftError, match=r"no nn\.Conv2d"):
        dimlift.lift(nn.Linear(3, 3))
    with pytest.raises(PlanError, match="open a network by its name"):
        dimlift.lift(network, pretrained=True)
    with pytest.raises(LiftError, match="lifted already; pass the 2D network"):
        dimlift.lift(dimlift.lift("timm:test_resnet", certify=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_chans": 0}, "in_chans takes whole numbers of at least 1, got 0"),
        ({"num_stages": 0, "features_only": True}, "num_stages takes whole numbers of at least 1, got 0"),
        ({"num_stages": 9, "features_only": True}, r"maps \[0, 1, 2, 3, 4, 5, 6, 7, 8\] of test_resnet.*use fewer"),
        ({"image_size": (64, 0)}, r"image_size takes whole numbers of at least 1, got \(64, 0\)"),
        ({"image_size": 64.5}, "image_size takes whole numbers"),
        ({"upsample": 0}, "upsample takes whole numbers of at least 1, got 0"),
    ],
)
def test_lift_rejects_invalid_sizes(options, message):
    with pytest.raises(PlanError, match=message):
        dimlift.lift("timm:test_resnet", **options)


def test_torchvision_rejects_missing_maps():
    with pytest.raises(PlanError, match=r"resnet18 has \d maps, got out_indices=\[0, 7\]"):
        dimlift.lift("torchvision:resnet18", features_only=True, out_indices=(0, 7))


def test_lift_rejects_unregistered_conv_with_hint():
    class Odd(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    with pytest.raises(LiftError, match=r"0 is a Odd.*register_conv\('Odd'"):
        dimlift.lift(nn.Sequential(Odd(3, 4, 3)))


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_first_conv_tubelets_return_output_of_their_middle_slice(kernel):
    """The first layer need not patchify; no layer after it mixes along depth."""
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel=kernel, stride="first_conv"), features_only=True).eval()
    slices, constancy, _, location = lifted.certificate.claims
    assert constancy.claimed
    assert location.claimed  # of dots in middle slices, which alone are read
    assert slices.claimed == bool(kernel % 2)
    assert [layer.name for layer in lifted.certificate.layers] == ["conv1.0"]
    assert {stride[0] for stride in lifted.strides} == {kernel}
    volume = torch.randn(1, 3, 2 * kernel + 1, 32, 32)  # the last tubelet repeats the last slice
    flat = dimlift.lift("timm:test_resnet", DepthPlan(kernel=1), features_only=True, certify=False).eval()
    flat.network.load_state_dict(dimlift.flatten(lifted))
    with torch.no_grad():
        found, expected = lifted(volume)[-1], flat(volume)[-1]
    assert found.shape[2] == 3
    if kernel % 2:
        middles = [kernel // 2, kernel + kernel // 2, 2 * kernel]
        torch.testing.assert_close(found, expected[:, :, middles], rtol=1e-3, atol=1e-4)
