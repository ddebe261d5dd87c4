"""Farthest point sampling, nearest neighbours and interpolation against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from dimlift.errors import ShapeError
from dimlift.geometry import neighbours
from dimlift.geometry.chamfer import chamfer_distance
from dimlift.geometry.neighbours import interpolate, knn
from dimlift.geometry.sampling import MIN_COMPILED_DISTANCES, farthest_point_sample, fps_reference, gather_points


def clouds(seed, batch, count):
    return torch.rand(batch, count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute_force_fps(cloud, count, start):
    chosen = [start]
    for _ in range(count - 1):
        gaps = np.linalg.norm(cloud[:, None] - cloud[chosen][None], axis=-1).min(1)
        chosen.append(int(gaps.argmax()))
    return chosen


@given(seed=st.integers(0, 999), count=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_farthest_point_sample_matches_definition(seed, count):
    points = clouds(seed, 2, 20)
    found = farthest_point_sample(points, count)
    for cloud, chosen in zip(points.numpy(), found.tolist(), strict=True):
        assert chosen == brute_force_fps(cloud, count, chosen[0])
    assert all(len(set(chosen)) == count for chosen in found.tolist())


@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_farthest_point_sample_ignores_point_order(seed):
    points = clouds(seed, 1, 30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    one = gather_points(points, farthest_point_sample(points, 8))
    other = gather_points(points[:, order], farthest_point_sample(points[:, order], 8))
    assert torch.equal(one, other)


def test_sampling_rejects_too_few_points():
    with pytest.raises(ShapeError, match="point clouds of 4"):
        farthest_point_sample(clouds(0, 1, 4), 5)
    with pytest.raises(ShapeError, match="of 4 points"):
        knn(clouds(0, 1, 4), clouds(1, 1, 4), 5)


@pytest.mark.parametrize("search", ["tree", "blocks"])
@given(seed=st.integers(0, 999), k=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_knn_matches_brute_force(search, seed, k):
    points, queries = clouds(seed, 2, 9), clouds(seed + 1, 2, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "MIN_TREE_POINTS", 0 if search == "tree" else 10**9)
        patch.setattr(neighbours, "MAX_DISTANCES", 30)  # several blocks
        distances, indices = knn(queries, points, k)
    expected = torch.cdist(queries, points).sort(-1)
    assert torch.equal(indices, expected.indices[..., :k])
    assert torch.allclose(distances, expected.values[..., :k])


def test_knn_blocks_match_scipy_far_from_origin():
    points = clouds(0, 1, 300).float() + 4000.0
    distances, indices = neighbours._knn_blocks(points[0], points[0], 4)
    expected = cKDTree(points[0].numpy()).query(points[0].numpy(), k=4)[0]
    assert np.allclose(distances.numpy(), expected, atol=1e-3)
    assert torch.equal(indices[:, 0], torch.arange(300))


def test_interpolate_reproduces_values_and_constants():
    points, values = clouds(0, 2, 30), clouds(1, 2, 30)
    assert torch.allclose(interpolate(points, points, values, eps=1e-14), values, atol=1e-9)
    queries = clouds(2, 2, 7)
    assert torch.allclose(
        interpolate(queries, points, torch.ones_like(values)), torch.ones(2, 7, 3, dtype=torch.float64)
    )


def test_chamfer_distance_matches_definition():
    one, other = clouds(0, 3, 8), clouds(1, 3, 5)
    gaps = torch.cdist(one, other)
    assert torch.allclose(chamfer_distance(one, other), gaps.amin(2).square().mean(1) + gaps.amin(1).square().mean(1))
    assert torch.allclose(
        chamfer_distance(one, other, squared=False), (gaps.amin(2).mean(1) + gaps.amin(1).mean(1)) / 2
    )
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    same = one.clone().requires_grad_()
    chamfer_distance(same, one[:, order], squared=False).sum().backward()
    assert torch.allclose(chamfer_distance(same, one[:, order]), torch.zeros(3, dtype=torch.float64))
    assert torch.isfinite(same.grad).all()


def test_farthest_point_sample_compiled_matches_reference():
    pytest.importorskip("fpsample")
    points = torch.randn(2, 3000, 3, generator=torch.Generator().manual_seed(3))
    start = torch.tensor([5, 900])
    assert points.shape[1] * 1400 >= MIN_COMPILED_DISTANCES
    assert torch.equal(farthest_point_sample(points, 1400, start), fps_reference(points, 1400, start))
