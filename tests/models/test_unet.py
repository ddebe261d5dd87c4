"""U-Nets accept volumes of any size, and fused features start without influence."""

import pytest
import torch
from torch import nn

from dimlift.errors import ShapeError
from dimlift.models.feature_fusion_unet import feature_fusion_unet
from dimlift.models.pad_to_multiple import PadToMultiple, PadToSize
from dimlift.models.unet import level_geometry, nnunet_unet, plain_unet, strides_by_spacing
from dimlift.models.unet_transformers import unetr

SIZES = [(8, 16, 24), (7, 13, 9), (1, 5, 3), (4, 4, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_unets_keep_any_size(size):
    volume = torch.randn(2, 2, *size)
    small = plain_unet(2, 3, widths=(4, 8, 16)).train()
    assert small(volume).shape == (2, 3, *size)
    deep = nnunet_unet(2, 3, patch_size=(8, 16, 24), widths=(4, 8, 16, 16)).train()
    assert deep(volume).shape == (2, 3, *size)
    for units in (0, 2):
        fused = feature_fusion_unet(2, 5, 3, widths=(4, 8, 16), residual_units=units).train()
        assert fused(volume, torch.randn(2, 5, *size)).shape == (2, 3, *size)
        assert fused(volume, torch.randn(2, 5, *(-(-n // 2) for n in size))).shape == (2, 3, *size)


def test_strides_by_spacing_keep_slices_that_lie_far_apart():
    """At 10 mm between slices of 1.4 mm pixels depth is halved only once pixels have become as large."""
    assert strides_by_spacing((8, 128, 128), (10.0, 1.4, 1.4), 4) == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert strides_by_spacing((32, 32, 32), (1.0, 1.0, 1.0), 4) == [(2, 2, 2)] * 3
    assert strides_by_spacing((4, 4, 4), (1.0, 1.0, 1.0), 4) == [(1, 1, 1)] * 3


@pytest.mark.parametrize("size", SIZES)
def test_unets_with_strides_by_spacing_keep_any_size(size):
    strides = strides_by_spacing((8, 16, 24), (10.0, 1.4, 1.4), 3)
    volume = torch.randn(2, 2, *size)
    assert plain_unet(2, 3, widths=(4, 8, 16), strides=strides)(volume).shape == (2, 3, *size)
    fused = feature_fusion_unet(2, 5, 3, widths=(4, 8, 16), strides=strides)
    assert fused(volume, torch.randn(2, 5, *(-(-n // 2) for n in size))).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(7, 13, 9), (16, 32, 16)])
def test_unetr_accepts_volumes_up_to_its_size(size):
    volume = torch.randn(1, 2, *size)
    small = unetr(2, 3, patch_size=(16, 20, 16), feature_size=4, hidden_size=24, num_heads=2).train()
    assert small(volume).shape == (1, 3, *size)
    with pytest.raises(ShapeError, match=r"at most \(16, 32, 16\) voxels, got \(17, 32, 16\)"):
        small(torch.randn(1, 2, 17, 32, 16))


def test_pad_to_size_repeats_border_and_crops():
    class Sum(nn.Module):
        def forward(self, volume):
            assert volume.shape == (1, 1, 4, 4, 4)
            return volume + volume[:, :, -1:, -1:, -1:]

    volume = torch.randn(1, 1, 3, 2, 4)
    torch.testing.assert_close(PadToSize(Sum(), (4, 4, 4))(volume), volume + volume[:, :, -1:, -1:, -1:])


def test_pad_to_multiple_repeats_border_and_passes_multiples():
    seen: list[torch.Tensor] = []

    class Keep(nn.Module):
        def forward(self, volume):
            seen.append(volume)
            return volume

    net = PadToMultiple(Keep(), (4, 4, 4))
    fitting = torch.randn(1, 1, 4, 8, 4)
    assert net(fitting) is fitting
    volume = torch.randn(1, 1, 3, 6, 4)
    torch.testing.assert_close(net(volume), volume, rtol=0, atol=0)
    assert seen[-1].shape == (1, 1, 4, 8, 4)
    torch.testing.assert_close(seen[-1][:, :, 3], seen[-1][:, :, 2])


def test_feature_fusion_unet_starts_as_plain_unet():
    torch.manual_seed(0)
    net = feature_fusion_unet(1, 3, 2, widths=(4, 8, 16))
    image, features = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 3, 8, 8, 8)
    torch.testing.assert_close(net(image, features), net(image, 5 * features), rtol=0, atol=0)
    torch.testing.assert_close(net(image, features), net.network.unet(image), rtol=1e-5, atol=1e-6)
    net(image, features).square().sum().backward()
    assert all(layer.weight.grad.abs().max() > 0 for layer in net.network.fusion)


def test_level_geometry_keeps_flat_kernels_for_thick_slices():
    strides, kernels = level_geometry((16, 256, 256), (5.0, 0.8, 0.8), 6)
    assert kernels[0] == (1, 3, 3)
    assert kernels[-1] == (3, 3, 3)
    assert strides[:3] == [(1, 1, 1), (1, 2, 2), (1, 2, 2)]
    through_plane = 1
    for stride in strides:
        through_plane *= stride[0]
    assert 16 // through_plane >= 4
    assert level_geometry((64, 64, 64), (1.0, 1.0, 1.0), 6)[1] == [(3, 3, 3)] * 5


def test_plain_unet_weights_follow_global_seed():
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(plain_unet(1, 2, widths=(4, 8)).state_dict())
    torch.testing.assert_close(nets[0], nets[1], rtol=0, atol=0)
