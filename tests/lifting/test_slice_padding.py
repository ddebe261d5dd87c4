"""Slices are padded to sizes that a network reads wholly, and strides are those of the network, at every size."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.factory import create_backbone
from dimlift.errors import PlanError, ShapeError
from dimlift.lifting.slice_padding import SlicePadding, find_padding

PLAN = DepthPlan(kernel=1)


def multiple_of(name: str) -> SlicePadding:
    with torch.device("meta"):
        network, _ = create_backbone(name, features_only=True)
    return find_padding(network, 3, None, [(64, 64), (96, 96)])


@pytest.mark.parametrize(
    ("name", "multiple", "remainder"),
    [
        ("test_resnet", 1, 0),
        ("tf_efficientnet_lite0", 1, 0),
        ("test_convnext", 32, 0),
        ("vgg11", 32, 0),
        ("pvt_v2_b0", 32, 0),
        ("torchvision:swin_t", 4, 0),
        ("nextvit_small", 1, 0),  # pools tokens along one axis
        ("resnetv2_50x1_bit", 1, 0),  # a pool leaves zeros unread that were padded to its input
        ("inception_v3", 32, 11),  # no padding
    ],
)
def test_multiple_at_which_every_pixel_is_read(name, multiple, remainder):
    assert multiple_of(name) == SlicePadding((multiple, multiple), (remainder, remainder))


def test_axes_have_their_own_multiples():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.pool = nn.Conv2d(3, 4, (2, 7), (2, 7)), nn.MaxPool2d((2, 1))

        def forward(self, x):
            x = self.stem(x)
            return [x, self.pool(x)]

    lifted = dimlift.lift(Maps(), PLAN).eval()
    assert lifted.padding == SlicePadding((4, 7), (0, 0))
    assert lifted.strides == ((1, 2, 7), (1, 4, 7))
    assert [m.shape[3:] for m in lifted(torch.zeros(1, 3, 1, 9, 15))] == [(5, 3), (3, 3)]


def test_network_of_one_map_is_padded_only_where_pixels_of_the_image_are_unread():
    reads = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.ConvTranspose2d(4, 2, 2, 2)).eval()
    volume = torch.randn(1, 3, 2, 17, 19)
    with torch.no_grad():
        expected = reads(volume[0].transpose(0, 1))
        torch.testing.assert_close(dimlift.lift(reads, PLAN)(volume)[0].transpose(0, 1), expected)
        patches = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 2, 2, 2)).eval()
        assert dimlift.lift(patches, PLAN)(volume).shape[3:] == (17, 19)


@pytest.mark.parametrize("name", ["test_convnext", "vgg11", "test_vit", "test_resnet"])
@pytest.mark.parametrize("size", [(50, 67), (64, 96)])
def test_maps_are_those_of_the_padded_slice(name, size):
    torch.manual_seed(0)
    network, _ = create_backbone(name, features_only=True)
    lifted = dimlift.lift(network.eval(), PLAN, certify=False).eval()
    volume = torch.randn(1, 3, 2, *size)
    whole = lifted.padding.size(*size)
    padded = nn.functional.pad(volume[0].transpose(0, 1), (0, whole[1] - size[1], 0, whole[0] - size[0]), "replicate")
    with torch.no_grad():
        flat, deep = network(padded), lifted(volume)
    for expected, found, stride in zip(flat, deep, lifted.strides, strict=True):
        cells = [-int(-side // step) for side, step in zip(size, stride[1:], strict=True)]
        assert list(found.shape[3:]) == cells
        torch.testing.assert_close(found[0].transpose(0, 1), expected[:, :, : cells[0], : cells[1]], rtol=0, atol=1e-4)


def test_size_of_a_fixed_network_is_rounded_up_to_patches():
    maps = {"features_only": True, "depth": 2, "out_indices": (1,)}
    lifted = dimlift.lift("timm:vit_tiny_patch16_224", PLAN, in_chans=1, image_size=(50, 36), **maps).eval()
    assert lifted.image_size == (64, 48)
    assert lifted.strides == ((1, 16, 16),)
    assert lifted(torch.zeros(1, 1, 1, 50, 36))[0].shape[3:] == (4, 3)
    with pytest.raises(ShapeError, match=r"reads slices of 64 x 48, .* are 33 x 70; .* image_size=\(48, 80\)"):
        lifted(torch.zeros(1, 1, 1, 33, 70))


def test_rounding_keeps_the_weights_of_a_seed():
    weights = []
    for size in (50, 64):
        torch.manual_seed(0)
        lifted = dimlift.lift("timm:vit_tiny_patch16_224", PLAN, image_size=size, depth=1, certify=False)
        weights.append(lifted.state_dict())
    assert all(torch.equal(weights[1][key], value) for key, value in weights[0].items())


def test_live_network_whose_patches_do_not_fill_its_image_is_refused():
    network, _ = create_backbone("timm:vit_tiny_patch16_224", img_size=40, depth=1)
    with pytest.raises(PlanError, match=r"patches of 16 x 16 do not fill: .* image_size=\(48, 48\)"):
        dimlift.lift(network, PLAN)
    assert dimlift.lift(network, PLAN, image_size=40).image_size == (48, 48)


@pytest.mark.parametrize("size", [56, 224])
def test_strides_of_a_fixed_pyramid_are_its_own(size):
    maps = {"features_only": True, "depths": (1, 1, 1, 1)}
    lifted = dimlift.lift("timm:swin_tiny_patch4_window7_224", PLAN, image_size=size, certify=False, **maps)
    assert lifted.strides == ((1, 4, 4), (1, 8, 8), (1, 16, 16), (1, 32, 32))


def test_strides_after_upsampling_are_exact():
    lifted = dimlift.lift("timm:test_convnext", PLAN, features_only=True, upsample=3, certify=False).eval()
    assert lifted.strides[0] == (1, 4 / 3, 4 / 3)
    assert lifted(torch.zeros(1, 3, 1, 33, 31))[0].shape[3:] == (25, 24)


def test_border_without_cells_is_stated():
    lifted = dimlift.lift("timm:inception_v3", PLAN, features_only=True, certify=False).eval()
    assert [stride[1] for stride in lifted.strides] == [2, 4, 8, 16, 32]
    assert lifted.starts[-1] == (0, 21.5, 21.5)
