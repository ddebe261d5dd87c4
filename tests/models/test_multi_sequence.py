"""Properties of shared sequences: single sequence, permutation invariance, missing sequences."""

import pytest
import torch
from torch import nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import LiftError, ShapeError
from dimlift.losses.segmentation import DiceCELoss
from dimlift.models.multi_sequence import FusedDecoder, SharedSequenceEncoder
from dimlift.models.segmenter import Segmenter


class Maps(nn.Module):
    """Encoder with two maps of a volume of one channel."""

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
    decoder = FusedDecoder(FPNDecoder(Maps.channels, Maps.strides, 2, decoder_channels=8, image_channels=1), fusion)
    return Segmenter(SharedSequenceEncoder(encoder, sequences, fusion), 2, decoder=decoder).eval()


def test_shared_encoder_of_one_sequence_equals_the_network(volume):
    torch.manual_seed(0)
    alone = Segmenter(
        Maps(), 2, decoder=FPNDecoder(Maps.channels, Maps.strides, 2, decoder_channels=8, image_channels=1)
    ).eval()
    torch.testing.assert_close(network(1)(volume[:, :1]), alone(volume[:, :1]))


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_shared_encoder_is_invariant_to_sequence_order(volume, fusion):
    shared = network(3, fusion)
    torch.testing.assert_close(shared(volume[:, [2, 0, 1]]), shared(volume))
    assert not torch.allclose(shared(volume), shared(volume * torch.tensor([1, 1, -1]).reshape(1, 3, 1, 1, 1)))


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_shared_encoder_ignores_missing_sequences(volume, fusion):
    volume[0, 1] = 0  # missing in one case of the batch only
    logits = network(3, fusion)(volume)
    torch.testing.assert_close(logits[:1], network(2, fusion)(volume[:1, [0, 2]]))
    torch.testing.assert_close(logits[1:], network(3, fusion)(volume[1:]))
    assert torch.isfinite(network(3, fusion)(torch.zeros_like(volume))).all()


def test_shared_encoder_of_equal_sequences_equals_one(volume):
    one = volume[:, :1]
    torch.testing.assert_close(network(3)(one.expand(-1, 3, -1, -1, -1)), network(1)(one))


def test_shared_encoder_shares_weights(volume):
    shared = network(3).train()
    DiceCELoss()(shared(volume), torch.zeros(2, 4, 8, 8, dtype=torch.long)).backward()
    assert all(p.grad is not None for p in shared.parameters())
    assert sum(p.numel() for p in shared.parameters()) == sum(p.numel() for p in network(1).parameters())


def test_shared_encoder_rejects_wrong_channels(volume):
    with pytest.raises(ShapeError, match="3 sequences"):
        SharedSequenceEncoder(Maps(), 3)(volume[:, :2])
    colour = Maps()
    colour.in_channels = 3
    with pytest.raises(LiftError, match="in_chans=1"):
        SharedSequenceEncoder(colour, 3)
