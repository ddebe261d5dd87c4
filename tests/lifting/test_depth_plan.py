"""A plan that makes no sense says so by itself; one that does not fit a network says so before anything is built."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift, PlanError, UnknownName


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kernel": 0}, PlanError, "from 1 upwards, got 0"),
        ({"kernel": "cube"}, UnknownName, "cubic"),
        ({"profile": "gauss"}, UnknownName, "average, box3, centre, gaussian, gaussian:SIGMA"),
        ({"profile": torch.ones}, PlanError, "sum to 3"),
        ({"axes": ()}, PlanError, "at least 'depth'"),
        ({"axes": ("depth", "time")}, UnknownName, "depth, height, width"),
        ({"axes": ("depth", "width"), "factorised": True}, PlanError, "along depth only"),
        ({"profile": "acs", "factorised": True}, PlanError, "acs turns kernels.*factorised=False"),
        ({"profile": "acs", "axes": ("depth", "width")}, PlanError, "says by itself where kernels lie"),
        ({"profile": "gaussian:wide"}, PlanError, "no number for its sigma"),
        ({"profile": "gaussian:0"}, PlanError, "sigma > 0"),
        ({"stride": "cubic"}, UnknownName, "kernel, none"),
        ({"reduce": (1, 0)}, PlanError, "from 1 upwards"),
        ({"attention": "windows"}, UnknownName, "joint"),
        ({"attention": 0}, PlanError, "number of slices from 1"),
        ({"pool": "all"}, UnknownName, "joint, slice"),
        ({"head": "sum"}, UnknownName, "attention, max, mean, none"),
    ],
)
def test_a_plan_checks_itself(fields, error, message):
    with pytest.raises(error, match=message):
        DepthPlan(**fields)


def test_a_plan_survives_json():
    plan = DepthPlan(kernel={"stage0": 1, "layer2": 3}, profile="gaussian", reduce=(1, 2), attention=4, head="max")
    assert DepthPlan.from_json(plan.to_json()) == plan
    with pytest.raises(UnknownName, match="kernel"):
        DepthPlan.from_json({"kernal": 3})
    with pytest.raises(PlanError, match="profile of your own"):
        DepthPlan(profile=lambda k: torch.full((k,), 1 / k)).to_json()


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 1), (1, float("nan"), 1), (-1, 1, 1), ("5", 1, 1), (1, 1, 1, 1)])
def test_a_spacing_is_three_positive_numbers(spacing):
    with pytest.raises(PlanError, match="three positive numbers"):
        DepthPlan.from_spacing(spacing)


STRIDES = (4, 8, 16, 32)


def kernels(plan):
    return tuple(plan.kernel[f"stage{i}"] for i in range(4))


def test_from_spacing_waits_until_slices_are_as_close_as_pixels():
    thick = DepthPlan.from_spacing((5.0, 0.8, 0.8)).by_stage(STRIDES)  # pixels 3.2, 6.4, 12.8, 25.6 mm
    assert kernels(thick) == (3, 3, 3, 3)
    assert thick.reduce == (1, 2, 2, 2)
    thicker = DepthPlan.from_spacing((10.0, 0.7, 0.7)).by_stage(STRIDES)  # pixels 2.8, 5.6, 11.2, 22.4 mm
    assert kernels(thicker) == (1, 3, 3, 3) or kernels(thicker) == (1, 1, 3, 3)
    assert kernels(thicker)[:1] == (1,)
    assert thicker.reduce == (1, 1, 2, 2)
    cubes = DepthPlan.from_spacing((1.0, 1.0, 1.0)).by_stage(STRIDES)
    assert kernels(cubes) == (3, 3, 3, 3)
    assert cubes.reduce == (2, 2, 2, 2)


def test_from_spacing_never_makes_slices_coarser_than_twice_the_pixels():
    for between in (0.3, 1.0, 2.5, 5.0, 12.0):
        plan = DepthPlan.from_spacing((between, 0.8, 0.8)).by_stage(STRIDES)
        distance = between
        for kernel, factor, stride in zip(kernels(plan), plan.reduce, STRIDES, strict=True):
            assert (kernel > 1) == (distance < 2 * 0.8 * stride)
            distance *= factor
            assert factor == 1 or distance <= 2 * 0.8 * stride


def test_depth_follows_the_strides_of_the_network_that_is_lifted():
    plan = DepthPlan.from_spacing((2.0, 1.0, 1.0))
    for name, options in (
        ("timm:test_resnet", {}),
        ("timm:test_resnet", {"stem_stride": 1}),
        ("timm:test_resnet", {"enlarge": 2}),
        ("timm:test_resnet", {"stages": 2}),
        ("timm:test_convnext", {}),
        ("packaged:efficientnet_lite0", {}),
    ):
        lifted = dimlift.lift(name, plan, features_only=True, certify=False, **options)
        between = 1
        for index, (deep, *plane) in enumerate(lifted.strides):
            assert (lifted.plan.kernel[f"stage{index}"] > 1) == (2.0 * between < 2 * min(plane))
            assert deep == between * (2 if 2 * 2.0 * between <= 2 * min(plane) else 1)
            between = deep
        assert between > 1 or options


@pytest.mark.parametrize(
    ("beside", "named"),
    [({"reduce": (1, 2)}, "reduce"), ({"stride": "kernel"}, "stride"), ({"kernel": "cubic"}, "kernel")],
)
def test_what_the_spacing_decides_is_not_given_beside_it(beside, named):
    with pytest.raises(PlanError, match=f"^{named}=.* beside spacing"):
        DepthPlan(spacing=(1.0, 1.0, 1.0), **beside)


def test_a_spacing_needs_stages():
    with pytest.raises(PlanError, match="no feature_info"):
        dimlift.lift(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), DepthPlan.from_spacing((1.0, 1.0, 1.0)))


def test_a_plan_by_spacing_reaches_the_stages_it_means():
    lifted = dimlift.lift(
        "timm:test_resnet", DepthPlan(kernel={"stage0": 1, "stage1": 5, "stage3": 3}), features_only=True
    )
    depths = {name: shapes[1][2] for name, shapes in lifted.weights_report.inflated.items()}
    assert {name.split(".")[0]: depth for name, depth in depths.items()} == {"layer1": 5, "layer3": 3}


def test_a_layer_named_in_the_plan_is_the_only_one_that_talks():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel={"layer2.0.conv2": 3}))
    assert list(lifted.weights_report.inflated) == ["layer2.0.conv2.weight"]
    with pytest.raises(UnknownName, match=r"nearest: .*layer1"):
        dimlift.lift("timm:test_resnet", DepthPlan(kernel={"layr1": 3}))


def test_a_plan_that_does_not_fit_the_network_says_so_and_leaves_it_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, (1, 3)), nn.ReLU())
    with pytest.raises(PlanError, match=r"need cubic kernels.*3x1"):
        dimlift.lift(network, DepthPlan(axes=("depth", "width")))
    with pytest.raises(PlanError, match="no feature_info"):
        dimlift.lift(network, DepthPlan(reduce=(2,)))
    with pytest.raises(PlanError, match="has 5; give reduce 5"):
        dimlift.lift("timm:test_resnet", DepthPlan(reduce=(1, 1, 1, 1, 1, 2)), features_only=True)
    with pytest.raises(PlanError, match="no attention"):
        dimlift.lift("timm:test_resnet", DepthPlan(attention="joint"))
    with pytest.raises(CannotLift, match=r"no nn\.Conv2d"):
        dimlift.lift(nn.Linear(3, 3))
    with pytest.raises(PlanError, match="open a network by its name"):
        dimlift.lift(network, pretrained=True)
    with pytest.raises(CannotLift, match="lifted already; give lift the 2D network"):
        dimlift.lift(dimlift.lift("timm:test_resnet", certify=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels takes whole numbers from 1 upwards, got 0"),
        ({"stages": 0, "features_only": True}, "stages takes whole numbers from 1 upwards, got 0"),
        ({"stages": 9, "features_only": True}, r"maps \[0, 1, 2, 3, 4, 5, 6, 7, 8\] of test_resnet.*ask for fewer"),
        ({"image_size": (64, 0)}, r"image_size takes whole numbers from 1 upwards, got \(64, 0\)"),
        ({"image_size": 64.5}, "image_size takes whole numbers"),
    ],
)
def test_sizes_that_are_none_are_refused_by_name(options, message):
    with pytest.raises(PlanError, match=message):
        dimlift.lift("timm:test_resnet", **options)


def test_maps_that_a_network_of_torchvision_has_not_are_refused():
    with pytest.raises(PlanError, match=r"resnet18 has \d maps, got out_indices=\[0, 7\]"):
        dimlift.lift("torchvision:resnet18", features_only=True, out_indices=(0, 7))


def test_a_convolution_nobody_described_is_named_with_the_way_out():
    class Odd(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    with pytest.raises(CannotLift, match=r"0 is a Odd.*register_convolution\('Odd'"):
        dimlift.lift(nn.Sequential(Odd(3, 4, 3)))


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_a_stem_of_tubelets_answers_for_their_middle_slices(kernel):
    """Any first layer will do, also one that does not patchify; nothing behind it talks."""
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel=kernel, stride="stem"), features_only=True).eval()
    slices, constancy = lifted.certificate.claims
    assert constancy.claimed
    assert slices.claimed == bool(kernel % 2)
    assert [layer.name for layer in lifted.certificate.layers] == ["conv1.0"]
    assert {stride[0] for stride in lifted.strides} == {kernel}
    volume = torch.randn(1, 3, 2 * kernel + 1, 32, 32)  # the last tubelet repeats the last slice
    flat = dimlift.lift("timm:test_resnet", DepthPlan(kernel=1), features_only=True, certify=False).eval()
    flat.network.load_state_dict(dimlift.flatten(lifted))
    with torch.no_grad():
        found, wanted = lifted(volume)[-1], flat(volume)[-1]
    assert found.shape[2] == 3
    if kernel % 2:
        middles = [kernel // 2, kernel + kernel // 2, 2 * kernel]
        torch.testing.assert_close(found, wanted[:, :, middles], rtol=1e-3, atol=1e-4)


def test_a_stem_wants_a_number_of_slices():
    with pytest.raises(PlanError, match=r"stride='stem' wants the slices of a tubelet as the kernel, got 'cubic'"):
        DepthPlan(kernel="cubic", stride="stem")
