"""Slices are weighed by what they show, not by where they lie."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.models.slice_pooling import SliceAttention, SliceMean, SliceTransformer


def awake(pooling):
    """Weights away from zero, where every attention begins as the mean."""
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
def test_weights_sum_to_one_and_follow_their_slices(name):
    pooling, vectors = awake(POOLINGS[name]()), torch.randn(2, 7, 8)
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
def test_attention_begins_as_the_mean():
    vectors = torch.randn(2, 5, 8)
    torch.testing.assert_close(SliceAttention(8)(vectors)[0], vectors.mean(dim=1))


def test_attention_finds_the_one_slice_that_tells_the_answer():
    torch.manual_seed(0)
    pooling, head = SliceAttention(6, 16), torch.nn.Linear(6, 1)
    optimiser = torch.optim.Adam([*pooling.parameters(), *head.parameters()], lr=0.02)

    def draw():
        number, place = torch.randn(64), torch.randint(9, (64,))
        vectors = torch.randn(64, 9, 6)
        vectors[..., 0] *= 0.3
        vectors[torch.arange(64), place, 0] = 4.0  # says "look here"
        vectors[torch.arange(64), place, 1] = number  # and what there is to see; in other slices it means nothing
        return vectors, number, place

    for _ in range(200):
        vectors, number, _ = draw()
        loss = F.mse_loss(head(pooling(vectors)[0])[:, 0], number)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    vectors, _, place = draw()
    assert (pooling(vectors)[1].argmax(dim=1) == place).float().mean() > 0.8  # one in nine by chance
