"""What reads the image, at which size, and what a run on shapes alone leaves behind."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.open_network import open_network
from dimlift.errors import CannotLift, PlanError, ShapeError
from dimlift.lifting import stem
from dimlift.lifting.input_size import bound_size, sizes_to_try
from dimlift.lifting.lifted_module import on_meta
from dimlift.lifting.stem import image_channels, register_intake
from dimlift.models.tubelets import tubelet_encoder


class Shuffled(nn.Module):
    """Pixels go to channels before the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.PixelUnshuffle(4)
        self.conv = nn.Conv2d(48, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(self.reader(x))


class Flat(nn.Module):
    """Patches go through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Unfold(8, stride=8)
        self.proj = nn.Linear(192, 5)

    def forward(self, x):
        return self.proj(self.reader(x).transpose(1, 2)).mean(1)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(stem, "INTAKES", dict(stem.INTAKES))
    register_intake("PixelUnshuffle", lambda module, first: first.in_channels // module.downscale_factor**2)
    register_intake("Unfold", lambda module, first: 3)


@pytest.mark.parametrize("make", [Shuffled, Flat])
def test_a_registered_intake_says_how_many_channels_the_image_has(known, make):
    lifted = dimlift.lift(make(), DepthPlan(kernel=3), mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 4.0])
    assert lifted.in_channels == 3
    assert lifted.certificate.holds
    assert lifted.input_scale.flatten().tolist() == [0.5, 0.5, 0.25]


def test_without_it_the_error_names_what_to_register():
    with pytest.raises(CannotLift, match=r"what reads its image is not known.*register_intake\('ItsClass'"):
        dimlift.lift(Flat())


def test_a_network_that_reads_volumes_already_is_told_apart():
    with pytest.raises(CannotLift, match=r"reads volumes already.*lift a 2D one, or train this one as it is"):
        dimlift.lift(nn.Sequential(nn.Conv3d(1, 2, 3)))


def test_what_needs_a_convolution_there_says_so(known):
    with pytest.raises(CannotLift, match="cannot be adapted to 1 channels; lift with in_channels=3"):
        dimlift.lift(Shuffled(), in_channels=1)
    with pytest.raises(PlanError, match="leave stem_stride out"):
        dimlift.lift(Shuffled(), stem_stride=1)
    with pytest.raises(PlanError, match="none reads the image"):
        tubelet_encoder("timm:tresnet_m", 3, certify=False)


def test_attention_across_slices_is_refused_there_before_anything_is_built():
    with torch.device("meta"):
        network, _ = open_network("timm:naflexvit_base_patch16_gap", depth=1)
    with pytest.raises(PlanError, match="where a convolution reads the image, and here none does"):
        dimlift.lift(network, DepthPlan(attention="joint"))


def test_a_convolution_nobody_described_is_named_before_anything_is_built():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), Own(4, 4, 3))
    with pytest.raises(CannotLift, match=r"1 is a Own, .*\.register_convolution\('Own', Kind\(\.\.\.\)\)"):
        dimlift.lift(network)


@pytest.mark.parametrize("name", ["tresnet_m", "csatv2", "naflexvit_base_patch16_gap", "gemma4_vit_167m"])
def test_those_of_timm_are_known(name):
    with torch.device("meta"):
        network, _ = open_network(f"timm:{name}")
    assert image_channels(network) == 3


def test_the_size_of_an_inner_part_does_not_bind_the_whole():
    network, info = open_network("timm:visformer_tiny", img_size=64)
    assert bound_size(network) == (32, 32)
    assert (64, 64) in sizes_to_try(network, info.size)
    assert dimlift.lift(network).image_size == (64, 64)
    assert dimlift.lift(network, certify=False).image_size == (64, 64)


def test_the_only_size_a_network_takes_is_found_where_it_keeps_it():
    network, info = open_network("timm:tnt_s_legacy_patch16_224", img_size=48, depth=1)
    assert (48, 48) in sizes_to_try(network, info.size)


def test_a_run_on_shapes_gives_every_tensor_back_under_all_its_names():
    conv, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    network = nn.Sequential(conv, norm, conv, norm, nn.Conv2d(3, 3, 3, padding=1))
    network[4].weight = conv.weight
    lifted = dimlift.lift(network, DepthPlan(kernel=1), certify=False)
    before = dict(lifted.named_parameters(remove_duplicate=False))
    assert on_meta(lifted, (1, 3, 2, 8, 8)).shape == (1, 3, 2, 8, 8)
    for name, tensor in lifted.named_parameters(remove_duplicate=False):
        assert tensor is before[name]
    assert all(buffer.device.type == "cpu" for buffer in lifted.buffers())
    with pytest.raises(ShapeError):
        on_meta(lifted, (1, 3, 2, 0, 0))
    assert all(parameter.device.type == "cpu" for parameter in lifted.parameters())
