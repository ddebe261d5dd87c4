"""Laws of shared sequences: one is the network itself, order does not matter, a missing one is as if never there."""

import pytest
import torch
from torch import nn

from dimlift.decoders.light import LightDecoder
from dimlift.errors import CannotLift, ShapeError
from dimlift.losses.segmentation import DiceCrossEntropy
from dimlift.models.multi_sequence import FusedImage, SharedSequences
from dimlift.models.segmenter import Segmenter


class Maps(nn.Module):
    """Two maps of a volume of one channel."""

    in_channels, channels, strides = 1, (4, 8), ((1, 1, 1), (1, 2, 2))

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, (1, 2, 2), 1)

    def forward(self, volume):
        fine = self.fine(volume).relu()
        return [fine, self.coarse(fine)]


@pytest.fixture
def volume():
    return torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def network(sequences, fusion="mean"):
    torch.manual_seed(0)
    encoder = Maps()
    decoder = FusedImage(LightDecoder(Maps.channels, Maps.strides, 2, width=8, image_channels=1), fusion)
    return Segmenter(SharedSequences(encoder, sequences, fusion), 2, decoder=decoder).eval()


def test_one_sequence_is_the_network_itself(volume):
    torch.manual_seed(0)
    alone = Segmenter(Maps(), 2, decoder=LightDecoder(Maps.channels, Maps.strides, 2, width=8, image_channels=1)).eval()
    torch.testing.assert_close(network(1)(volume[:, :1]), alone(volume[:, :1]))


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_order_does_not_matter(volume, fusion):
    shared = network(3, fusion)
    torch.testing.assert_close(shared(volume[:, [2, 0, 1]]), shared(volume))
    assert not torch.allclose(shared(volume), shared(volume * torch.tensor([1, 1, -1]).reshape(1, 3, 1, 1, 1)))


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_a_missing_sequence_is_the_fusion_of_the_others(volume, fusion):
    volume[0, 1] = 0  # missing in one case of the batch only
    answer = network(3, fusion)(volume)
    torch.testing.assert_close(answer[:1], network(2, fusion)(volume[:1, [0, 2]]))
    torch.testing.assert_close(answer[1:], network(3, fusion)(volume[1:]))
    assert torch.isfinite(network(3, fusion)(torch.zeros_like(volume))).all()


def test_the_same_sequence_three_times_is_that_sequence(volume):
    one = volume[:, :1]
    torch.testing.assert_close(network(3)(one.expand(-1, 3, -1, -1, -1)), network(1)(one))


def test_gradients_reach_the_network_once_for_all_sequences(volume):
    shared = network(3).train()
    DiceCrossEntropy()(shared(volume), torch.zeros(2, 4, 8, 8, dtype=torch.long)).backward()
    assert all(p.grad is not None for p in shared.parameters())
    assert sum(p.numel() for p in shared.parameters()) == sum(p.numel() for p in network(1).parameters())


def test_wrong_channels_are_named(volume):
    with pytest.raises(ShapeError, match="3 sequences"):
        SharedSequences(Maps(), 3)(volume[:, :2])
    colour = Maps()
    colour.in_channels = 3
    with pytest.raises(CannotLift, match="in_channels=1"):
        SharedSequences(colour, 3)
