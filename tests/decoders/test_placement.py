"""Cells keep their place: resampling between grids of true strides, also where the last cell exceeds the volume."""

import pytest
import torch
from torch import nn

from dimlift.decoders.cascade import CascadedUpsampler
from dimlift.decoders.fpn import FPNDecoder
from dimlift.decoders.mlp import MLPDecoder
from dimlift.decoders.norm import InstanceNorm
from dimlift.decoders.placement import resample_map
from dimlift.decoders.pooling import PyramidPooling
from dimlift.decoders.pyramid import FeaturePyramid
from dimlift.decoders.swin import SwinDecoder
from dimlift.decoders.unetr import UNETRDecoder
from dimlift.decoders.upernet import UPerNetDecoder
from dimlift.decoders.upernext import UperNeXtDecoder

DECODERS = [FPNDecoder, UPerNetDecoder, UNETRDecoder, MLPDecoder, UperNeXtDecoder, CascadedUpsampler, SwinDecoder]


def ramp(cells: int, stride: float, start: float = 0.0) -> torch.Tensor:
    """A map along x whose values are the centres of its cells, in voxels."""
    return (start + (torch.arange(cells) + 0.5) * stride).expand(1, 1, 1, 1, -1)


def resample_row(line: torch.Tensor, stride: float, cells: int, target: float, start: float = 0.0) -> torch.Tensor:
    return resample_map(line, (1, 1, stride), (1, 1, cells), (1, 1, target), (0, 0, start))[0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cells", "stride", "count", "target", "start"),
    [
        (5, 14, 64, 1, 0.0),  # the patches cover 70 voxels
        (2, 32, 13, 4, 0.0),  # the coarse grid covers 64 voxels, the fine one 52
        (5, 3.5, 17, 1, 0.0),
        (3, 8, 5, 6, 0.0),  # strides without a common factor
        (8, 32, 10, 32, 21.5),  # a border that no cell covers
        (6, 0.5, 3, 1, 0.0),
        (4, 4, 16, 1, 0.0),
    ],
)
def test_position_is_kept(cells, stride, count, target, start):
    found = resample_row(ramp(cells, stride, start), stride, count, target, start)
    wanted = (torch.arange(count) + 0.5) * target
    inside = wanted.clamp(start + 0.5 * stride, start + (cells - 0.5) * stride)  # values continue beyond
    torch.testing.assert_close(found, inside)


def test_grid_of_the_same_extent_is_interpolated_as_torch_does():
    volume = torch.randn(2, 3, 2, 4, 5)
    found = resample_map(volume, (2, 8, 8), (4, 32, 40), (1, 1, 1))
    assert torch.equal(found, nn.functional.interpolate(volume, (4, 32, 40), mode="trilinear"))
    assert resample_map(volume, (2, 8, 8), (2, 4, 5), (2, 8, 8)).data_ptr() == volume.data_ptr()


@pytest.mark.parametrize("build", DECODERS)
@pytest.mark.parametrize(
    ("strides", "side"),
    [(((1, 14, 14),) * 3, 127), (((1, 2, 2), (1, 4, 4), (1, 8, 8)), 73), (((1, 3.5, 3.5),) * 2, 33)],
)
def test_impulse_is_decoded_around_the_centre_of_its_cell(build, strides, side):
    if len(set(strides)) == 1 and build in (UperNeXtDecoder, UPerNetDecoder, CascadedUpsampler):
        pytest.skip("several kernels in a row at the coarsest stride spread an impulse to the borders")
    row, column, stride = 7, 4, strides[-1][1]  # ten cells, the last of which exceeds the volume
    torch.manual_seed(0)
    decoder = build([4] * len(strides), strides, 8, decoder_channels=16, depth_kernel=1).eval()
    for module in list(decoder.modules()):
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):  # averages: no kernel moves what it reads
            module.weight.data.copy_(module.weight.data.mean((-1, -2), keepdim=True).expand_as(module.weight))
        for name, child in module.named_children():  # statistics of a whole map spread an impulse everywhere
            if isinstance(child, InstanceNorm | PyramidPooling):
                setattr(module, name, nn.Identity() if isinstance(child, InstanceNorm) else nn.Conv3d(4, 16, 1))
    image = torch.zeros(1, 1, 1, side, side)
    maps = [torch.rand(1, 4, 1, -int(-side // step), -int(-side // step)) for _, step, _ in strides]
    lit = [*maps[:-1], maps[-1].clone()]
    lit[-1][:, :, :, row, column] += 3
    with torch.no_grad():
        change = (decoder(lit, image) - decoder(maps, image)).square().sum((0, 1, 2)).double()
    change = change * (change > 0.1 * change.max())
    for axis, index in ((0, row), (1, column)):
        profile = change.sum(1 - axis)
        centre = float((profile * (torch.arange(side) + 0.5)).sum() / profile.sum())
        assert abs(centre - (index + 0.5) * stride) < 0.35 * stride


def test_pyramid_states_true_strides():
    pyramid = FeaturePyramid([(4, (1, 14, 14))] * 3, 8)
    assert [stride for _, stride in pyramid.levels] == [(1, 3.5, 3.5), (1, 7, 7), (1, 14, 14)]
    maps = pyramid([torch.zeros(1, 4, 1, 5, 5)] * 3)
    assert [m.shape[-1] * stride[-1] for m, (_, stride) in zip(maps, pyramid.levels, strict=True)] == [70, 70, 70]
    halved = FeaturePyramid([(4, (1, 7, 7))] * 3, 8, downsample_last=True)
    assert [stride for _, stride in halved.levels] == [(1, 3.5, 3.5), (1, 7, 7), (1, 14, 14)]
