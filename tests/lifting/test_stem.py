"""The stem, image sizes, and runs on the meta device."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones import create_backbone
from dimlift.errors import LiftError, PlanError, ShapeError
from dimlift.lifting import register_stem, registry
from dimlift.lifting.input_size import candidate_sizes, fixed_image_size
from dimlift.lifting.meta_device import run_on_meta
from dimlift.lifting.stem import image_channels
from dimlift.models.tubelets import tubelet_encoder


class UnshuffleStem(nn.Module):
    """Moves pixels to channels before the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.PixelUnshuffle(4)
        self.conv = nn.Conv2d(48, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(self.stem(x))


class LinearStem(nn.Module):
    """Applies a linear layer to patches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Unfold(8, stride=8)
        self.proj = nn.Linear(192, 5)

    def forward(self, x):
        return self.proj(self.stem(x).transpose(1, 2)).mean(1)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(registry.STEMS, "PixelUnshuffle", None)
    monkeypatch.setitem(registry.STEMS, "Unfold", None)
    register_stem("PixelUnshuffle", lambda module, first: first.in_channels // module.downscale_factor**2)
    register_stem("Unfold", lambda module, first: 3)


@pytest.mark.parametrize("make", [UnshuffleStem, LinearStem])
def test_registered_stem_states_image_channels(registered, make):
    lifted = dimlift.lift(make(), DepthPlan(kernel=3), mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 4.0])
    assert lifted.in_channels == 3
    assert lifted.certificate.holds
    assert lifted.input_scale.flatten().tolist() == [0.5, 0.5, 0.25]


def test_lift_rejects_unknown_stem_with_hint():
    with pytest.raises(LiftError, match=r"module that reads its image is not known.*register_stem\('ItsClass'"):
        dimlift.lift(LinearStem())


def test_lift_rejects_3d_network():
    with pytest.raises(LiftError, match=r"reads volumes already; lift a 2D network, or train this one"):
        dimlift.lift(nn.Sequential(nn.Conv3d(1, 2, 3)))


def test_registered_stem_rejects_options_that_need_a_convolution(registered):
    with pytest.raises(LiftError, match="cannot be adapted to 1 channels; lift with in_chans=3"):
        dimlift.lift(UnshuffleStem(), in_chans=1)
    with pytest.raises(PlanError, match="leave stem_stride out"):
        dimlift.lift(UnshuffleStem(), stem_stride=1)
    with pytest.raises(PlanError, match="applies to the convolution that reads the image, and none does"):
        tubelet_encoder("timm:tresnet_m", 3, certify=False)


def test_registered_stem_rejects_attention_across_slices():
    with torch.device("meta"):
        network, _ = create_backbone("timm:naflexvit_base_patch16_gap", depth=1)
    with pytest.raises(PlanError, match="where a convolution reads the image, and here none does"):
        dimlift.lift(network, DepthPlan(attention="volume"))


def test_lift_rejects_unregistered_conv_before_conversion():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), Own(4, 4, 3))
    with pytest.raises(LiftError, match=r"1 is a Own, .*\.register_conv\('Own', ConvType\(\.\.\.\)\)"):
        dimlift.lift(network)


@pytest.mark.parametrize("name", ["tresnet_m", "csatv2", "naflexvit_base_patch16_gap", "gemma4_vit_167m"])
def test_stems_of_timm_are_registered(name):
    with torch.device("meta"):
        network, _ = create_backbone(f"timm:{name}")
    assert image_channels(network) == 3


def test_size_of_inner_module_does_not_bind_the_network():
    network, info = create_backbone("timm:visformer_tiny", img_size=64)
    assert fixed_image_size(network) == (32, 32)
    assert (64, 64) in candidate_sizes(network, info.size)
    assert dimlift.lift(network).image_size == (64, 64)
    assert dimlift.lift(network, certify=False).image_size == (64, 64)


def test_candidate_sizes_contain_size_stated_by_inner_module():
    network, info = create_backbone("timm:tnt_s_legacy_patch16_224", img_size=48, depth=1)
    assert (48, 48) in candidate_sizes(network, info.size)


def test_run_on_meta_restores_every_tensor_under_all_its_names():
    conv, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    network = nn.Sequential(conv, norm, conv, norm, nn.Conv2d(3, 3, 3, padding=1))
    network[4].weight = conv.weight
    lifted = dimlift.lift(network, DepthPlan(kernel=1), certify=False)
    before = dict(lifted.named_parameters(remove_duplicate=False))
    assert run_on_meta(lifted, (1, 3, 2, 8, 8)).shape == (1, 3, 2, 8, 8)
    for name, tensor in lifted.named_parameters(remove_duplicate=False):
        assert tensor is before[name]
    assert all(buffer.device.type == "cpu" for buffer in lifted.buffers())
    with pytest.raises(ShapeError):
        run_on_meta(lifted, (1, 3, 2, 0, 0))
    assert all(parameter.device.type == "cpu" for parameter in lifted.parameters())
