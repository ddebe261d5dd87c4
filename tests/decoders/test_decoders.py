"""Properties of all decoders: output for every voxel at any size, separate slices with depth kernel 1, gradients."""

import pytest
import torch

from dimlift.decoders.cascade import CascadedUpsampler
from dimlift.decoders.fpn import FPNDecoder
from dimlift.decoders.mlp import MLPDecoder
from dimlift.decoders.norm import ChannelNorm
from dimlift.decoders.pooling import PyramidPooling
from dimlift.decoders.pyramid import FeaturePyramid
from dimlift.decoders.swin import PatchExpand, SwinDecoder
from dimlift.decoders.unetr import UNETRDecoder
from dimlift.decoders.upernet import UPerNetDecoder
from dimlift.decoders.upernext import UperNeXtDecoder
from dimlift.errors import ShapeError

DECODERS = [FPNDecoder, UPerNetDecoder, UNETRDecoder, MLPDecoder, UperNeXtDecoder, CascadedUpsampler, SwinDecoder]
STAGES = ((1, 2, 2), (1, 4, 4), (2, 8, 8))
SINGLE = ((1, 8, 8),) * 3
TUBELETS = ((4, 8, 8),) * 3
CHANNELS = (6, 10, 12)


def _maps(size: tuple[int, int, int], strides) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, count, *(-(-n // step) for n, step in zip(size, stride, strict=True)), generator=generator)
        for count, stride in zip(CHANNELS, strides, strict=True)
    ]
    return maps, torch.randn(2, 1, *size, generator=generator)


def _change_slice(volume: torch.Tensor, index: int) -> torch.Tensor:
    changed = volume.clone()
    changed[:, :, index] = torch.randn_like(changed[:, :, index]) * 5
    return changed


@pytest.mark.parametrize("build", DECODERS)
@pytest.mark.parametrize("strides", [STAGES, SINGLE, TUBELETS])
@pytest.mark.parametrize("size", [(5, 19, 26), (1, 9, 3)])
def test_decoder_covers_every_voxel_and_trains_every_weight(build, strides, size):
    maps, image = _maps(size, strides)
    decoder = build(CHANNELS, strides, 4, decoder_channels=16)
    logits = decoder(maps, image)
    assert logits.shape == (2, 4, *size)
    logits.square().sum().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []
    with pytest.raises(ShapeError, match="built for 3 maps, got 2"):
        decoder(maps[:2], image)


@pytest.mark.parametrize("build", DECODERS)
@pytest.mark.parametrize("strides", [((1, 2, 2), (1, 4, 4), (1, 8, 8)), SINGLE])
def test_decoder_mixes_slices_only_with_depth_kernel(build, strides):
    maps, image = _maps((5, 16, 24), strides)
    changed = [_change_slice(m, 2) for m in maps]
    for depth_kernel in (1, 3):
        torch.manual_seed(0)
        decoder = build(CHANNELS, strides, 3, decoder_channels=16, depth_kernel=depth_kernel).train()
        moved = (decoder(changed, image) - decoder(maps, image)).abs().amax((0, 1, 3, 4))
        assert moved[2] > 0.05
        assert (moved[[0, 1, 3, 4]].max() < 1e-5) == (depth_kernel == 1)


@pytest.mark.parametrize("build", [UPerNetDecoder, UNETRDecoder])
def test_decoder_checkpointing_keeps_gradients(build):
    maps, image = _maps((4, 16, 16), STAGES)
    gradients = []
    plain, frugal = (build(CHANNELS, STAGES, 2, decoder_channels=16, gradient_checkpointing=g) for g in (False, True))
    frugal.load_state_dict(plain.state_dict())
    for decoder in (plain, frugal):
        decoder(maps, image).square().sum().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("build", DECODERS)
@pytest.mark.parametrize("strides", [STAGES, SINGLE])
def test_decoder_supports_bfloat16_and_channels_last(build, strides):
    maps, image = _maps((6, 16, 16), strides)
    decoder = build(CHANNELS, strides, 2, decoder_channels=16)
    plain = decoder(maps, image)
    decoder.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        half = decoder([m.bfloat16().to(memory_format=torch.channels_last_3d) for m in maps], image)
    torch.testing.assert_close(half.float(), plain, rtol=0, atol=0.15)
    half.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize("halved", [True, False])
def test_feature_pyramid_rescales_maps_of_one_stride_only(halved):
    strides = ((1, 16, 16),) * 4
    pyramid = FeaturePyramid([(12, stride) for stride in strides], 5, downsample_last=halved)
    wanted = [4, 8, 16, 32] if halved else [2, 4, 8, 16]
    assert [stride for _, stride in pyramid.levels] == [(1, step, step) for step in wanted]
    maps = pyramid([torch.randn(1, 12, 3, 4, 6)] * 4)
    assert [tuple(m.shape[3:]) for m in maps] == [(64 // step, 96 // step) for step in wanted]
    assert [m.shape[1] for m in maps] == [count for count, _ in pyramid.levels]
    staged = FeaturePyramid([(6, (1, 4, 4)), (8, (1, 8, 8))], 5, downsample_last=halved)
    assert staged.levels == [(6, (1, 4, 4)), (8, (1, 8, 8))]
    assert not list(staged.parameters())


def test_feature_pyramid_upsamples_depth_of_tubelets():
    pyramid = FeaturePyramid([(4, (4, 16, 16))] * 4, 4)
    assert [stride for _, stride in pyramid.levels] == [(1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]


@pytest.mark.parametrize(("depth_kernel", "far"), [(1, (1, 11, 11)), (3, (3, 11, 11))])
def test_pyramid_pooling_has_global_context(depth_kernel, far):
    """A norm over positions would remove the average of a whole map, and its influence."""
    pooling = PyramidPooling(4, 8, depth_kernel, bins=(1,))
    volume = torch.randn(1, 4, 4, 12, 12)
    changed = volume.clone()
    changed[(0, slice(None), *far)] += 50
    moved = (pooling(changed) - pooling(volume)).abs()[0].amax(0)
    assert moved[far[0], 0, 0] > 1e-3
    assert (moved[0, 0, 0] > 1e-3) == (depth_kernel == 3)


def test_mlp_decoder_equals_two_linear_layers():
    """SegFormer as published: a layer per map, upsampling, concatenation, another linear layer."""
    maps, image = _maps((3, 16, 16), ((1, 2, 2), (1, 4, 4), (1, 8, 8)))
    decoder = MLPDecoder(CHANNELS, ((1, 2, 2), (1, 4, 4), (1, 8, 8)), 2, decoder_channels=8)
    first = [torch.randn(7, count) for count in CHANNELS]
    mix = torch.randn(8, 21)
    for index, layer in enumerate(decoder.layers):
        layer.weight.data = (mix[:, 7 * index : 7 * index + 7] @ first[index])[:, :, None, None, None]
    upsampled = [
        torch.nn.functional.interpolate(torch.einsum("oc,bcdhw->bodhw", weight, m), maps[0].shape[2:], mode="trilinear")
        for weight, m in zip(first, maps, strict=True)
    ]
    published = torch.einsum("oc,bcdhw->bodhw", mix, torch.cat(upsampled, 1))
    published = decoder.head(decoder.norm(published))
    published = torch.nn.functional.interpolate(published, image.shape[2:], mode="trilinear")
    torch.testing.assert_close(decoder(maps, image), published, rtol=1e-4, atol=1e-4)


def test_unetr_decoder_reads_volume_at_full_resolution():
    maps, image = _maps((6, 16, 16), STAGES)
    changed = image.clone()
    changed[:, :, 3, 5, 7] += 3
    for channels, reaches in ((0, False), (1, True)):
        decoder = UNETRDecoder(CHANNELS, STAGES, 2, decoder_channels=16, image_channels=channels).eval()
        moved = (decoder(maps, changed) - decoder(maps, image)).abs().amax((0, 1))
        assert (moved.max() > 0) == reaches
        if reaches:
            position = torch.stack(torch.unravel_index(moved.argmax(), moved.shape))
            assert (position - torch.tensor([3, 5, 7])).abs().max() <= 4


def test_unetr_decoder_has_published_widths():
    decoder = UNETRDecoder((768,) * 4, ((16, 16, 16),) * 4, 2, decoder_channels=64, image_channels=1)
    assert decoder.skips[0].shortcut.out_channels == 16
    assert [merge.shortcut.out_channels for merge in decoder.merge] == [16, 32, 64, 128]


def test_channel_norm_equals_layer_norm_per_position():
    volume = torch.randn(2, 5, 3, 4, 2)
    each = torch.nn.functional.layer_norm(volume.permute(0, 2, 3, 4, 1), (5,)).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(ChannelNorm(5)(volume), each)


def test_cascaded_upsampler_has_published_widths():
    strides = tuple((1, step, step) for step in (2, 4, 8, 16))
    decoder = CascadedUpsampler((64, 256, 512, 768), strides, 2, decoder_channels=256, depth_kernel=1)
    reads = [step[0][0].in_channels for step in decoder.steps]
    assert reads == [512 + 512, 256 + 256, 128 + 64, 64]
    assert [step[1][0].out_channels for step in decoder.steps] == [256, 128, 64, 16]


def test_upernext_decoder_has_published_widths():
    decoder = UperNeXtDecoder((96, 192, 384, 768), ((4,) * 3, (8,) * 3, (16,) * 3, (32,) * 3), 1)
    large = [m for m in decoder.head.modules() if isinstance(m, torch.nn.Conv3d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in large] == [
        (64, 16, (7, 7, 7)), (16, 16, (7, 7, 7)), (16, 1, (7, 7, 7))
    ]  # fmt: skip


def test_upernext_decoder_gradient_is_correct_under_bfloat16():
    """The bfloat16 gradient of kernels of depth 7 is wrong on a CPU."""
    maps, image = _maps((6, 16, 16), STAGES)
    decoder = UperNeXtDecoder(CHANNELS, STAGES, 2, decoder_channels=16)
    kernel, gradients = decoder.head[0].weight, []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = decoder(maps, image)
        (gradient,) = torch.autograd.grad(output.float().square().sum(), kernel)
        gradients.append(gradient)
    assert (gradients[1] - gradients[0]).abs().max() < 0.1 * gradients[0].abs().max()


def test_patch_expand_keeps_positions():
    """Each position becomes the block of voxels it covers, and no other."""
    expand = PatchExpand(4, 3, (1, 2, 4))
    volume = torch.randn(1, 4, 2, 3, 3)
    changed = volume.clone()
    changed[:, :, 1, 2, 0] += 1
    moved = (expand(changed) - expand(volume)).abs().amax((0, 1))
    assert moved.shape == (2, 6, 12)
    assert (moved[1, 4:6, 0:4] > 0).all()
    assert int((moved > 0).sum()) == 8


def test_swin_decoder_shifts_windows():
    """The second block shifts windows by half; without it, distant corners would not interact."""
    decoder = SwinDecoder((4, 4), ((1, 2, 2), (1, 4, 4)), 2, decoder_channels=8, depth_kernel=1)
    fine = torch.randn(1, 4, 1, 14, 14)
    changed = fine.clone()
    changed[..., 6, 6] += 5
    coarse, image = torch.randn(1, 4, 1, 7, 7), torch.randn(1, 1, 1, 28, 28)
    moved = (decoder([changed, coarse], image) - decoder([fine, coarse], image)).abs().amax((0, 1, 2))
    assert moved[15, 15] > 0  # the voxels of position (7, 7), in the next window
