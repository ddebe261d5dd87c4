"""Slice pooling weights slices by content, not by position."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.models.slice_pooling import SliceAttention, SliceMean, SliceTransformer


def randomised(pooling):
    """Randomise the zero-initialised score, with which attention starts as the mean."""
    torch.manual_seed(3)
    attention = getattr(pooling, "attention", pooling)
    if hasattr(attention, "score"):
        torch.nn.init.normal_(attention.score.weight)
    return pooling.eval()


POOLINGS = {
    "mean": SliceMean,
    "attention": lambda: SliceAttention(8, 16),
    "transformer": lambda: SliceTransformer(8, heads=2),
}


@pytest.mark.parametrize("name", POOLINGS)
@torch.no_grad()
def test_slice_pooling_weights_sum_to_one_and_permute(name):
    pooling, vectors = randomised(POOLINGS[name]()), torch.randn(2, 7, 8)
    pooled, weights = pooling(vectors)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    assert (weights > 0).all()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    again, permuted = pooling(vectors[:, order])
    torch.testing.assert_close(permuted, weights[:, order])
    torch.testing.assert_close(again, pooled)
    if name != "mean":
        assert weights.std(dim=1).min() > 1e-4


@torch.no_grad()
def test_slice_attention_starts_as_mean():
    vectors = torch.randn(2, 5, 8)
    torch.testing.assert_close(SliceAttention(8)(vectors)[0], vectors.mean(dim=1))


def test_slice_attention_finds_the_informative_slice():
    torch.manual_seed(0)
    pooling, head = SliceAttention(6, 16), torch.nn.Linear(6, 1)
    optimizer = torch.optim.Adam([*pooling.parameters(), *head.parameters()], lr=0.02)

    def sample():
        number, position = torch.randn(64), torch.randint(9, (64,))
        vectors = torch.randn(64, 9, 6)
        vectors[..., 0] *= 0.3
        vectors[torch.arange(64), position, 0] = 4.0  # marks the slice
        vectors[torch.arange(64), position, 1] = number  # the target; noise in other slices
        return vectors, number, position

    for _ in range(200):
        vectors, number, _ = sample()
        loss = F.mse_loss(head(pooling(vectors)[0])[:, 0], number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    vectors, _, position = sample()
    assert (pooling(vectors)[1].argmax(dim=1) == position).float().mean() > 0.8  # one in nine by chance
