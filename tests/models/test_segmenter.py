"""Segmenter and classifier around an encoder of feature maps."""

import pytest
import torch
from torch import nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import LiftError, ShapeError
from dimlift.models.classifier import Classifier
from dimlift.models.segmenter import Segmenter


@pytest.mark.parametrize("size", [(4, 16, 16), (3, 9, 13), (1, 5, 6)])
@pytest.mark.parametrize("image_skip", [True, False])
def test_segmenter_logits_have_the_size_of_the_volume(small_encoder, size, image_skip):
    encoder = small_encoder(in_channels=2)
    decoder = FPNDecoder(
        encoder.channels, encoder.strides, 3, decoder_channels=16, image_channels=2 if image_skip else 0
    )
    model = Segmenter(encoder, 3, decoder=decoder)
    assert model(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_segmenter_with_flat_kernels_keeps_slices_separate(small_encoder):
    encoder = small_encoder(depth_kernel=1)
    decoder = FPNDecoder(encoder.channels, encoder.strides, 2, decoder_channels=16, image_channels=1, depth_kernel=1)
    model = Segmenter(encoder, 2, decoder=decoder).eval()
    volume = torch.randn(1, 1, 5, 12, 12)
    changed = volume.clone()
    changed[:, :, 1] = torch.randn(12, 12)
    moved = (model(changed) - model(volume)).abs().amax((0, 1, 3, 4))
    assert moved[[0, 2, 3, 4]].max() < 1e-5
    assert moved[1] > 1e-2


@pytest.mark.parametrize("build", [Segmenter, Classifier])
def test_gradient_checkpointing_keeps_gradients(small_encoder, build):
    torch.manual_seed(0)
    plain = build(small_encoder(), 2).train()
    frugal = build(small_encoder(), 2, gradient_checkpointing=True).train()
    frugal.load_state_dict(plain.state_dict())
    volume = torch.randn(2, 1, 3, 8, 8)
    gradients = []
    for model in (plain, frugal):
        torch.manual_seed(1)  # dropout
        model(volume).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_segmenter_prefers_checkpointing_of_the_encoder(small_encoder):
    encoder = small_encoder()
    calls: list[bool] = []
    encoder.set_grad_checkpointing = lambda enable: calls.append(enable)
    assert not Segmenter(encoder, 2, gradient_checkpointing=True).recompute_encoder
    assert calls == [True]


def test_classifier_pools_the_coarsest_maps(small_encoder):
    model = Classifier(small_encoder(), 5, num_maps=2).eval()
    assert model(torch.randn(2, 1, 3, 9, 7)).shape == (2, 5)
    assert model.head[-1].in_features == 6 + 8
    assert Classifier(small_encoder(), 5).head[-1].in_features == 8


def test_segmenter_rejects_missing_maps_and_wrong_channels(small_encoder):
    for build in (Segmenter, Classifier):
        with pytest.raises(LiftError, match="features_only=True"):
            build(nn.Conv3d(1, 1, 1), 2)
    encoder = small_encoder()
    with pytest.raises(ShapeError, match="has 4 output channels, expected 2"):
        Segmenter(encoder, 2, decoder=FPNDecoder(encoder.channels, encoder.strides, 4))
    with pytest.raises(ShapeError, match=r"reads \(B, 1, D, H, W\), got \(1, 4, 2, 8, 8\)"):
        Segmenter(small_encoder(), 2)(torch.zeros(1, 4, 2, 8, 8))
