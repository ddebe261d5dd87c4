"""Point patch embedding."""

import torch

from dimlift.tokenizers.points import PointPatchEmbedding


def test_point_patch_embedding_matches_explicit_concatenation():
    torch.manual_seed(0)
    embedding, patches = PointPatchEmbedding(5, 24, (8, 16)), torch.randn(2, 3, 7, 5)
    values = embedding.each(patches)
    joined = torch.cat([values.amax(2, keepdim=True).expand_as(values), values], dim=-1)
    torch.testing.assert_close(embedding(patches), embedding.both(joined).amax(2))


def test_point_patch_embedding_is_invariant_to_the_order_of_points():
    torch.manual_seed(0)
    embedding, patches = PointPatchEmbedding(3, 24, (8, 16)), torch.randn(2, 3, 7, 3)
    torch.testing.assert_close(embedding(patches.flip(2)), embedding(patches))
