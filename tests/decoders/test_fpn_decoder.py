"""The decoder answers at the resolution of the volume, whatever its size, and keeps slices apart when told to."""

import pytest
import torch
from torch import nn

from dimlift.decoders.light import LightDecoder
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
def test_any_size_is_answered_at_full_resolution_with_gradients_everywhere(size, image_channels):
    maps, image = _maps(size)
    decoder = LightDecoder(CHANNELS, STRIDES, 4, width=16, image_channels=image_channels)
    logits = decoder(maps, image)
    assert logits.shape == (2, 4, *size)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_image_path_lets_single_voxels_reach_the_answer():
    """Without it, the finest thing the decoder can know is what the encoder's first map kept."""
    maps, image = _maps((6, 16, 16))
    changed = image.clone()
    changed[:, :, 3, 5, 7] += 3
    for channels, reaches in ((0, False), (1, True)):
        decoder = LightDecoder(CHANNELS, STRIDES, 2, width=16, image_channels=channels).eval()
        moved = (decoder(maps, changed) - decoder(maps, image)).abs().amax((0, 1))
        assert (moved.max() > 0) == reaches
        if reaches:
            place = torch.stack(torch.unravel_index(moved.argmax(), moved.shape))
            assert (place - torch.tensor([3, 5, 7])).abs().max() <= 2


@pytest.mark.parametrize("strides", [((1, 4, 4), (1, 8, 8)), ((2, 4, 4), (4, 8, 8)), ((1, 1, 1), (1, 2, 2))])
def test_half_resolution_is_added_where_the_encoder_has_none(strides):
    maps, image = _maps((9, 19, 21), strides, (5, 7))
    decoder = LightDecoder((5, 7), strides, 2, width=16, image_channels=1)
    assert decoder(maps, image).shape == (2, 2, 9, 19, 21)
    assert len(decoder.image_path) == (2 if strides[0][1] == 4 else 1)


def test_depth_kernel_one_keeps_slices_apart():
    strides = ((1, 2, 2), (1, 4, 4))
    maps, image = _maps((5, 12, 12), strides, (6, 10))
    decoder = LightDecoder((6, 10), strides, 3, width=16, image_channels=1, depth_kernel=1).train()
    before = decoder(maps, image)
    after = decoder([_change_slice(m, 2) for m in maps], _change_slice(image, 2))
    torch.testing.assert_close(after[:, :, [0, 1, 3, 4]], before[:, :, [0, 1, 3, 4]], rtol=0, atol=1e-6)
    assert (after[:, :, 2] - before[:, :, 2]).abs().max() > 0.1


def test_depth_kernel_three_lets_slices_talk():
    maps, image = _maps((5, 12, 12))
    decoder = LightDecoder(CHANNELS, STRIDES, 3, width=16)
    moved = decoder([_change_slice(maps[0], 2), *maps[1:]], image) - decoder(maps, image)
    assert moved[:, :, 1].abs().max() > 1e-3


def test_slice_norm_is_instance_norm_of_each_slice():
    volume = torch.randn(2, 3, 4, 6, 5)
    each = torch.stack([nn.InstanceNorm2d(3)(volume[:, :, d]) for d in range(4)], dim=2)
    torch.testing.assert_close(InstanceNorm(3, per_slice=True)(volume), each)
    torch.testing.assert_close(InstanceNorm(3)(volume), nn.InstanceNorm3d(3)(volume))


@pytest.mark.parametrize("per_slice", [True, False])
def test_a_single_voxel_is_normalised_to_the_shift(per_slice):
    assert InstanceNorm(2, per_slice)(torch.randn(2, 2, 1, 1, 1)).abs().max() < 1e-3


def test_gradient_checkpointing_changes_no_number():
    maps, image = _maps((6, 16, 16))
    plain = LightDecoder(CHANNELS, STRIDES, 2, width=16, image_channels=1)
    frugal = LightDecoder(CHANNELS, STRIDES, 2, width=16, image_channels=1, gradient_checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    gradients = []
    for decoder in (plain, frugal):
        decoder(maps, image).square().sum().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bfloat16_and_channels_last_give_nearly_the_same_answer():
    maps, image = _maps((6, 16, 16))
    decoder = LightDecoder(CHANNELS, STRIDES, 2, width=16, image_channels=1).eval()
    plain = decoder(maps, image)
    decoder.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        half = decoder([m.to(memory_format=torch.channels_last_3d) for m in maps], image)
    torch.testing.assert_close(half.float(), plain, rtol=0, atol=0.1)


def test_misfits_are_refused_with_their_numbers():
    with pytest.raises(ShapeError, match="finest first"):
        LightDecoder((4, 4), ((1, 4, 4), (1, 2, 2)), 2)
    with pytest.raises(ShapeError, match="one stride for each map"):
        LightDecoder((4, 4), ((1, 4, 4),), 2)
    maps, image = _maps((4, 8, 8))
    with pytest.raises(ShapeError, match="built for 3 maps, got 2"):
        LightDecoder(CHANNELS, STRIDES, 2)(maps[:2], image)


def _change_slice(volume: torch.Tensor, index: int) -> torch.Tensor:
    changed = volume.clone()
    changed[:, :, index] = torch.randn_like(changed[:, :, index]) * 5
    return changed
