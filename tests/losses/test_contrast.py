"""Contrastive losses."""

import numpy as np
import pytest
import torch

from dimlift.losses.contrast import group_means, info_nce


def test_info_nce_matches_the_formula():
    queries, keys = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = 0.0
    for i in range(5):
        scores = [float(torch.dot(queries[i] / queries[i].norm(), keys[j] / keys[j].norm())) / 0.04 for j in range(5)]
        expected -= (scores[i] - np.log(np.sum(np.exp(scores)))) / 5
    assert float(info_nce(queries, keys, 0.04)) == pytest.approx(expected, rel=1e-4)


def test_group_means_are_ordered_by_group():
    values = torch.tensor([[1.0], [3.0], [10.0]])
    assert group_means(values, torch.tensor([7, 7, 2])).tolist() == [[10.0], [2.0]]
