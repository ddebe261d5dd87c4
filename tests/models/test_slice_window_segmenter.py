"""Windows of slices: the tubelet encoder, and segmentation with one window per slice."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import PlanError, ShapeError, UnknownNameError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.models.slice_window_segmenter import SliceWindowSegmenter
from dimlift.models.tubelets import tubelet_encoder

NETWORKS = [("packaged:efficientnet_lite0", {}), ("timm:test_vit", {"image_size": 32}), ("timm:test_nfnet", {})]


@pytest.mark.parametrize(("network", "options"), NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_tubelet_encoder_with_centre_inflation_equals_centre_slice(network, options, channels):
    """The maps are those of the 2D network on the centre slice, for any data."""
    made = {}
    for window in (1, 5):
        torch.manual_seed(0)
        made[window] = tubelet_encoder(network, window, in_chans=channels, certify=False, **options).eval()
    volume = torch.randn(2, channels, 5, 32, 32)
    with torch.no_grad():
        found, wanted = made[5](volume), made[1](volume[:, :, 2:3])
    assert all(each.shape[2] == 1 for each in found)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("network", "options"), NETWORKS)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("profile", ["average", "centre"])
def test_tubelet_encoder_equals_2d_network_on_repeated_slice(network, options, channels, profile):
    image = torch.randn(2, 1, 1, 32, 32)
    torch.manual_seed(0)
    flat = lift(network, DepthPlan(kernel=1), features_only=True, certify=False, **options).eval()
    torch.manual_seed(0)
    windows = tubelet_encoder(network, 3, in_chans=channels, inflation=profile, certify=False, **options).eval()
    with torch.no_grad():
        wanted, found = flat(image.expand(-1, 3, -1, -1, -1)), windows(image.expand(-1, channels, 3, -1, -1))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_tubelet_encoder_averages_input_channels_as_published():
    kernel = lift("packaged:efficientnet_lite0", DepthPlan(kernel=1), features_only=True).network.conv_stem.weight
    for channels in (1, 2, 3):
        encoder = tubelet_encoder("packaged:efficientnet_lite0", 5, in_chans=channels, inflation="average")
        wanted = (kernel.sum(1, keepdim=True) / channels / 5)[:, :, None].expand(-1, channels, 5, -1, -1)
        torch.testing.assert_close(encoder.network.conv_stem.weight, wanted)


def test_tubelet_encoder_certificate():
    encoder = tubelet_encoder("packaged:efficientnet_lite0", 5, inflation="average")
    laws = {claim.law: claim for claim in encoder.certificate.claims}
    assert laws["constancy"].claimed
    assert laws["constancy"].error < 1e-4
    assert not laws["slices"].claimed
    assert laws["slices"].error > 1e-2
    assert tubelet_encoder("packaged:efficientnet_lite0", 5).certificate.holds
    assert "conv_stem.weight" in encoder.weights_report.inflated
    assert encoder.strides[0] == (5, 2, 2)
    assert all(module.training for module in encoder.modules())
    with pytest.raises(PlanError, match="4 slices has no centre"):
        tubelet_encoder("packaged:efficientnet_lite0", 4)


class RecordingEncoder(nn.Module):
    """An encoder that records its windows; the intensities of a volume are its slice numbers."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.in_channels, self.channels, self.strides, self.tubelet_depth = 1, (window,), ((window, 1, 1),), window
        self.windows: list[list[int]] = []
        self.calls: list[int] = []

    def forward(self, windows: Tensor) -> list[Tensor]:
        self.windows += windows[:, 0, :, 0, 0].int().tolist()
        self.calls.append(len(windows))
        return [windows.transpose(1, 2)[:, :, 0][:, :, None]]  # (n, window, 1, H, W)


class FromMaps(nn.Module):
    """A decoder whose logits are a function of the windows."""

    def __init__(self, function, out_channels: int) -> None:
        super().__init__()
        self.function, self.out_channels = function, out_channels

    def forward(self, maps: list[Tensor], image: Tensor) -> Tensor:
        assert image.shape[2] == 1
        return self.function(maps[0])


def _numbered(depth: int) -> Tensor:
    return torch.arange(depth).float().view(1, 1, -1, 1, 1).expand(2, -1, -1, 2, 3)


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("chunk_size", [1, 4, 100])
@pytest.mark.parametrize("depth", [1, 5, 9])
def test_slice_window_segmenter_predicts_each_slice_once(window, chunk_size, depth):
    encoder, middle = RecordingEncoder(window), window // 2
    decoder = FromMaps(lambda maps: maps[:, middle : middle + 1].repeat(1, 2, 1, 1, 1), 2)
    model = SliceWindowSegmenter(encoder, decoder, 2, chunk_size=chunk_size)
    logits = model(_numbered(depth))
    assert logits.shape == (2, 2, depth, 2, 3)
    assert logits[1, 0, :, 0, 0].tolist() == list(range(depth))  # in order
    wanted = [[min(max(c + o, 0), depth - 1) for o in range(-middle, middle + 1)] for c in range(depth)]
    assert sorted(encoder.windows) == sorted(2 * wanted)  # two volumes
    assert max(encoder.calls) <= 2 * chunk_size


def test_slice_window_segmenter_averages_overlapping_windows():
    depth, window, classes = 6, 3, 2
    table = torch.randn(depth, classes, window)  # logits of (centre, class, slice of the window)

    def logits(maps: Tensor) -> Tensor:
        centres = maps[:, 1, 0, 0, 0].long()
        return table[centres].flatten(1)[:, :, None, None, None].expand(-1, -1, 1, 2, 3)

    model = SliceWindowSegmenter(
        RecordingEncoder(window), FromMaps(logits, classes * window), classes, predict="all", chunk_size=4
    )
    averaged = model(_numbered(depth)).exp()
    probabilities = table.softmax(1).numpy()
    for index in range(depth):
        voters = [(c, index - c + 1) for c in range(depth) if 0 <= index - c + 1 < window]
        wanted = np.mean([probabilities[c, :, slot] for c, slot in voters], axis=0)
        assert len(voters) == (2 if index in (0, depth - 1) else 3)
        np.testing.assert_allclose(averaged[0, :, index, 0, 0].numpy(), wanted, rtol=1e-5)


def test_slice_window_segmenter_checkpointing_keeps_gradients():
    gradients, volume = [], torch.randn(1, 1, 4, 32, 32)
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder = tubelet_encoder("timm:test_resnet", 3, certify=False)
        flat = [(1, *stride[1:]) for stride in encoder.strides]
        decoder = FPNDecoder(encoder.channels, flat, 2, decoder_channels=8, depth_kernel=1)
        model = SliceWindowSegmenter(encoder, decoder, 2, gradient_checkpointing=recompute).train()
        model(volume).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    scale = max(float(g.abs().max()) for g in gradients[0])
    for one, other in zip(*gradients, strict=True):
        assert float((one - other).abs().max()) < 1e-3 * scale


def test_slice_window_segmenter_rejects_wrong_options_and_channels():
    with pytest.raises(UnknownNameError, match="centre"):
        SliceWindowSegmenter(RecordingEncoder(3), nn.Identity(), 2, predict="center")
    with pytest.raises(ShapeError, match=r"2 classes on 3 slice\(s\) of a window need 6"):
        SliceWindowSegmenter(RecordingEncoder(3), FromMaps(None, 2), 2, predict="all")
    with pytest.raises(ShapeError, match=r"reads \(B, 1, D, H, W\)"):
        SliceWindowSegmenter(RecordingEncoder(3), FromMaps(None, 2), 2)(torch.zeros(1, 2, 4, 8, 8))
