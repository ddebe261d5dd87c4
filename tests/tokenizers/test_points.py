"""Point patch embedding."""

import torch

from dimlift.tokenizers.points import PointPatchEmbedding


def embedding(channels=3):
    torch.manual_seed(0)
    return PointPatchEmbedding(channels, 24, (8, 16))


def test_point_patch_embedding_matches_explicit_concatenation():
    network, patches = embedding(5), torch.randn(2, 3, 7, 5)
    values = network.each(patches)
    joined = torch.cat([values.amax(2, keepdim=True).expand_as(values), values], dim=-1)
    torch.testing.assert_close(network(patches), network.both(joined).amax(2))


def test_point_patch_embedding_is_invariant_to_the_order_of_points():
    network, patches = embedding(), torch.randn(2, 3, 7, 3)
    torch.testing.assert_close(network(patches.flip(2)), network(patches))


def test_padding_enters_neither_tokens_nor_batch_statistics():
    patches, padding = torch.randn(2, 3, 7, 3), torch.tensor([[False, False, True], [False, True, True]])
    one, other = embedding(), embedding()
    tokens = one(patches, padding)
    moved = torch.where(padding[..., None, None], patches + 100, patches)
    torch.testing.assert_close(other(moved, padding), tokens)
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    assert not tokens[padding].any()
    # without padding the same patches give the same tokens
    alone = embedding()(patches[~padding][None])[0]
    torch.testing.assert_close(tokens[~padding], alone)


def test_tokens_are_independent_of_the_batch_in_evaluation():
    network, patches = embedding().eval(), torch.randn(4, 3, 7, 3)
    torch.testing.assert_close(network(patches)[:1], network(patches[:1]))
