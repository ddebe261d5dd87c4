"""Sampling, neighbours and interpolation: right against brute force, whatever the order of the points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from dimlift.errors import ShapeError
from dimlift.geometry import neighbours
from dimlift.geometry.chamfer import chamfer
from dimlift.geometry.neighbours import interpolate, nearest, within
from dimlift.geometry.sampling import COMPILED_FROM, farthest_points, gather_points, one_after_another


def clouds(seed, batch, count):
    return torch.rand(batch, count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_farthest(cloud, count, start):
    chosen = [start]
    for _ in range(count - 1):
        gaps = np.linalg.norm(cloud[:, None] - cloud[chosen][None], axis=-1).min(1)
        chosen.append(int(gaps.argmax()))
    return chosen


@given(seed=st.integers(0, 999), count=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_farthest_points_are_those_of_the_definition(seed, count):
    points = clouds(seed, 2, 20)
    found = farthest_points(points, count)
    for cloud, chosen in zip(points.numpy(), found.tolist(), strict=True):
        assert chosen == slow_farthest(cloud, count, chosen[0])
    assert all(len(set(chosen)) == count for chosen in found.tolist())


@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_farthest_points_do_not_depend_on_the_order(seed):
    points = clouds(seed, 1, 30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    one = gather_points(points, farthest_points(points, 8))
    other = gather_points(points[:, order], farthest_points(points[:, order], 8))
    assert torch.equal(one, other)


def test_more_points_than_there_are_is_refused():
    with pytest.raises(ShapeError, match="clouds of 4"):
        farthest_points(clouds(0, 1, 4), 5)
    with pytest.raises(ShapeError, match="among 4"):
        nearest(clouds(0, 1, 4), clouds(1, 1, 4), 5)


@pytest.mark.parametrize("search", ["tree", "blocks"])
@given(seed=st.integers(0, 999), k=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_neighbours_are_those_of_brute_force(search, seed, k):
    points, queries = clouds(seed, 2, 9), clouds(seed + 1, 2, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "TREE_FROM", 0 if search == "tree" else 10**9)
        patch.setattr(neighbours, "PAIRS_AT_ONCE", 30)  # several blocks
        distances, indices = nearest(queries, points, k)
    expected = torch.cdist(queries, points).sort(-1)
    assert torch.equal(indices, expected.indices[..., :k])
    assert torch.allclose(distances, expected.values[..., :k])


def test_neighbours_agree_with_scipy_far_from_the_origin():
    points = clouds(0, 1, 300).float() + 4000.0
    distances, indices = neighbours._by_blocks(points[0], points[0], 4)
    expected = cKDTree(points[0].numpy()).query(points[0].numpy(), k=4)[0]
    assert np.allclose(distances.numpy(), expected, atol=1e-3)
    assert torch.equal(indices[:, 0], torch.arange(300))


def test_a_ball_holds_nobody_from_outside():
    points, queries = clouds(0, 1, 60), clouds(1, 1, 10)
    index = within(queries, points, 0.3, 16)
    gaps = (gather_points(points, index) - queries[:, :, None]).norm(dim=-1)
    first = torch.cdist(queries, points).amin(-1, keepdim=True)
    assert ((gaps <= 0.3) | torch.isclose(gaps, first)).all()
    inside = (torch.cdist(queries, points) <= 0.3).sum(-1).clamp(1, 16)
    assert [len(set(row)) for row in index[0].tolist()] == inside[0].tolist()


def test_a_query_on_a_point_gets_its_value_and_constants_stay():
    points, values = clouds(0, 2, 30), clouds(1, 2, 30)
    assert torch.allclose(interpolate(points, points, values, floor=1e-14), values, atol=1e-9)
    queries = clouds(2, 2, 7)
    assert torch.allclose(
        interpolate(queries, points, torch.ones_like(values)), torch.ones(2, 7, 3, dtype=torch.float64)
    )


def test_chamfer_is_that_of_its_definition_and_zero_for_the_same_points():
    one, other = clouds(0, 3, 8), clouds(1, 3, 5)
    gaps = torch.cdist(one, other)
    assert torch.allclose(chamfer(one, other), gaps.amin(2).square().mean(1) + gaps.amin(1).square().mean(1))
    assert torch.allclose(chamfer(one, other, squared=False), (gaps.amin(2).mean(1) + gaps.amin(1).mean(1)) / 2)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    same = one.clone().requires_grad_()
    chamfer(same, one[:, order], squared=False).sum().backward()
    assert torch.allclose(chamfer(same, one[:, order]), torch.zeros(3, dtype=torch.float64))
    assert torch.isfinite(same.grad).all()


def test_farthest_points_are_the_same_with_and_without_the_compiled_library():
    pytest.importorskip("fpsample")
    points = torch.randn(2, 3000, 3, generator=torch.Generator().manual_seed(3))
    start = torch.tensor([5, 900])
    assert points.shape[1] * 1400 >= COMPILED_FROM
    assert torch.equal(farthest_points(points, 1400, start), one_after_another(points, 1400, start))
