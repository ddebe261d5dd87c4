"""FPN decoder: full-resolution output for any size, image skip, and separate slices with depth kernel 1."""

import pytest
import torch
from torch import nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.decoders.norm import InstanceNorm
from dimlift.errors import ShapeError

STRIDES = ((1, 2, 2), (1, 4, 4), (2, 8, 8))
CHANNELS = (6, 10, 12)


def _maps(size: tuple[int, int, int], strides=STRIDES, channels=CHANNELS) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, count, *(-(-n // step) for n, step in zip(size, stride, strict=True)), generator=generator)
        for count, stride in zip(channels, strides, strict=True)
    ]
    return maps, torch.randn(2, 1, *size, generator=generator)


@pytest.mark.parametrize("size", [(8, 16, 16), (7, 17, 13), (1, 9, 11), (5, 3, 2), (1, 2, 2)])
@pytest.mark.parametrize("image_channels", [0, 1])
def test_fpn_decoder_supports_any_size(size, image_channels):
    maps, image = _maps(size)
    decoder = FPNDecoder(CHANNELS, STRIDES, 4, decoder_channels=16, image_channels=image_channels)
    logits = decoder(maps, image)
    assert logits.shape == (2, 4, *size)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_fpn_decoder_image_skip_passes_single_voxels():
    """Without it, resolution is limited to the first map of the encoder."""
    maps, image = _maps((6, 16, 16))
    changed = image.clone()
    changed[:, :, 3, 5, 7] += 3
    for channels, reaches in ((0, False), (1, True)):
        decoder = FPNDecoder(CHANNELS, STRIDES, 2, decoder_channels=16, image_channels=channels).eval()
        moved = (decoder(maps, changed) - decoder(maps, image)).abs().amax((0, 1))
        assert (moved.max() > 0) == reaches
        if reaches:
            position = torch.stack(torch.unravel_index(moved.argmax(), moved.shape))
            assert (position - torch.tensor([3, 5, 7])).abs().max() <= 2


@pytest.mark.parametrize("strides", [((1, 4, 4), (1, 8, 8)), ((2, 4, 4), (4, 8, 8)), ((1, 1, 1), (1, 2, 2))])
def test_fpn_decoder_adds_half_resolution_if_missing(strides):
    maps, image = _maps((9, 19, 21), strides, (5, 7))
    decoder = FPNDecoder((5, 7), strides, 2, decoder_channels=16, image_channels=1)
    assert decoder(maps, image).shape == (2, 2, 9, 19, 21)
    assert len(decoder.image_skip) == (2 if strides[0][1] == 4 else 1)


def test_fpn_decoder_depth_kernel_1_keeps_slices_separate():
    strides = ((1, 2, 2), (1, 4, 4))
    maps, image = _maps((5, 12, 12), strides, (6, 10))
    decoder = FPNDecoder((6, 10), strides, 3, decoder_channels=16, image_channels=1, depth_kernel=1).train()
    before = decoder(maps, image)
    after = decoder([_change_slice(m, 2) for m in maps], _change_slice(image, 2))
    torch.testing.assert_close(after[:, :, [0, 1, 3, 4]], before[:, :, [0, 1, 3, 4]], rtol=0, atol=1e-6)
    assert (after[:, :, 2] - before[:, :, 2]).abs().max() > 0.1


def test_fpn_decoder_depth_kernel_3_mixes_slices():
    maps, image = _maps((5, 12, 12))
    decoder = FPNDecoder(CHANNELS, STRIDES, 3, decoder_channels=16)
    moved = decoder([_change_slice(maps[0], 2), *maps[1:]], image) - decoder(maps, image)
    assert moved[:, :, 1].abs().max() > 1e-3


def test_instance_norm_per_slice_equals_2d_instance_norm():
    volume = torch.randn(2, 3, 4, 6, 5)
    each = torch.stack([nn.InstanceNorm2d(3)(volume[:, :, d]) for d in range(4)], dim=2)
    torch.testing.assert_close(InstanceNorm(3, per_slice=True)(volume), each)
    torch.testing.assert_close(InstanceNorm(3)(volume), nn.InstanceNorm3d(3)(volume))


@pytest.mark.parametrize("per_slice", [True, False])
def test_instance_norm_of_single_voxel_is_shift(per_slice):
    assert InstanceNorm(2, per_slice)(torch.randn(2, 2, 1, 1, 1)).abs().max() < 1e-3


def test_fpn_decoder_checkpointing_keeps_gradients():
    maps, image = _maps((6, 16, 16))
    plain = FPNDecoder(CHANNELS, STRIDES, 2, decoder_channels=16, image_channels=1)
    frugal = FPNDecoder(CHANNELS, STRIDES, 2, decoder_channels=16, image_channels=1, gradient_checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    gradients = []
    for decoder in (plain, frugal):
        decoder(maps, image).square().sum().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_fpn_decoder_supports_bfloat16_and_channels_last():
    maps, image = _maps((6, 16, 16))
    decoder = FPNDecoder(CHANNELS, STRIDES, 2, decoder_channels=16, image_channels=1).eval()
    plain = decoder(maps, image)
    decoder.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        half = decoder([m.to(memory_format=torch.channels_last_3d) for m in maps], image)
    torch.testing.assert_close(half.float(), plain, rtol=0, atol=0.1)


def test_fpn_decoder_rejects_inconsistent_maps():
    with pytest.raises(ShapeError, match="ordered finest first"):
        FPNDecoder((4, 4), ((1, 4, 4), (1, 2, 2)), 2)
    with pytest.raises(ShapeError, match="one stride per map"):
        FPNDecoder((4, 4), ((1, 4, 4),), 2)
    maps, image = _maps((4, 8, 8))
    with pytest.raises(ShapeError, match="built for 3 maps, got 2"):
        FPNDecoder(CHANNELS, STRIDES, 2)(maps[:2], image)


def _change_slice(volume: torch.Tensor, index: int) -> torch.Tensor:
    changed = volume.clone()
    changed[:, :, index] = torch.randn_like(changed[:, :, index]) * 5
    return changed
