"""Patches of points become tokens: what a patch has in common is computed once, and nothing changes by it."""

import torch

from dimlift.tokenizers.points import PatchEmbedding


def test_a_token_is_that_of_the_whole_patch_beside_each_of_its_points():
    torch.manual_seed(0)
    embedding, patches = PatchEmbedding(5, 24, (8, 16)), torch.randn(2, 3, 7, 5)
    values = embedding.each(patches)
    beside = torch.cat([values.amax(2, keepdim=True).expand_as(values), values], dim=-1)
    torch.testing.assert_close(embedding(patches), embedding.both(beside).amax(2))


def test_the_order_of_points_in_a_patch_says_nothing():
    torch.manual_seed(0)
    embedding, patches = PatchEmbedding(3, 24, (8, 16)), torch.randn(2, 3, 7, 3)
    torch.testing.assert_close(embedding(patches.flip(2)), embedding(patches))
