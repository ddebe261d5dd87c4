"""Sparse convolution equals dense convolution at occupied voxels, with correct gradients."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.errors import ShapeError
from dimlift.ops.sparse_conv import sparse_conv, strided_rulebook, submanifold_rulebook

SIZE = 6


def voxels(seed, count=60, batch=2):
    """Return coordinates (also negative ones), features, and the same features on a dense grid."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.randint(-SIZE // 2, SIZE // 2, (count, 4), generator=generator)
    coordinates[:, 0] = torch.randint(0, batch, (count,), generator=generator)
    coordinates = coordinates.unique(dim=0)
    features = torch.randn(len(coordinates), 3, generator=generator, dtype=torch.float64)
    dense = torch.zeros(batch, 3, SIZE, SIZE, SIZE, dtype=torch.float64)
    b, x, y, z = (coordinates + torch.tensor([0, SIZE // 2, SIZE // 2, SIZE // 2])).unbind(1)
    dense[b, :, x, y, z] = features
    return coordinates, features, dense, (b, x, y, z)


def as_taps(weight):
    """Return the weight of a dense kernel (out, in, k, k, k) as (taps, in, out)."""
    return weight.flatten(2).permute(2, 1, 0)


@given(seed=st.integers(0, 9999), kernel=st.sampled_from([1, 3, 5]))
@settings(max_examples=15, deadline=None)
def test_submanifold_conv_matches_dense(seed, kernel):
    coordinates, features, dense, (b, x, y, z) = voxels(seed)
    weight = torch.randn(4, 3, kernel, kernel, kernel, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = F.conv3d(dense, weight, padding=kernel // 2)[b, :, x, y, z]
    assert torch.allclose(sparse_conv(features, as_taps(weight), submanifold_rulebook(coordinates, kernel)), expected)


@given(seed=st.integers(0, 9999), stride=st.sampled_from([2, 3]))
@settings(max_examples=15, deadline=None)
def test_strided_conv_matches_dense(seed, stride):
    coordinates, features, dense, _ = voxels(seed)
    weight = torch.randn(4, 3, stride, stride, stride, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = -SIZE // 2 % stride  # the dense grid starts at -SIZE/2: pad so that its cells are those of the floor
    padded = F.pad(dense, (shift, stride) * 3)
    expected = F.conv3d(padded, weight, stride=stride)
    rules, coarse = strided_rulebook(coordinates, stride)
    found = sparse_conv(features, as_taps(weight), rules)
    first = torch.div(torch.tensor(-SIZE // 2), stride, rounding_mode="floor")
    b, x, y, z = coarse.unbind(1)
    assert torch.allclose(found, expected[b, :, x - first, y - first, z - first])
    assert coarse.tolist() == sorted(coarse.tolist())


def test_transposed_rulebook_is_adjoint():
    coordinates, features, _, _ = voxels(3)
    weight = torch.randn(8, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rules, coarse = strided_rulebook(coordinates)
    up = torch.randn(len(coarse), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    back = sparse_conv(up, weight.transpose(1, 2), rules.transposed(len(coordinates)))
    # adjoint: <A f, u> = <f, A' u>
    assert torch.allclose((sparse_conv(features, weight, rules) * up).sum(), (features * back).sum())


@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_sparse_conv_gradients(kind):
    coordinates, features, _, _ = voxels(0, count=14, batch=1)
    rules = submanifold_rulebook(coordinates) if kind == "submanifold" else strided_rulebook(coordinates)[0]
    if kind == "inverse":
        features, rules = features[: rules.outputs], rules.transposed(len(coordinates))
    weight = torch.randn(len(rules.taps), 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs = (features.clone().requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, w: sparse_conv(f, w, rules), inputs)


def test_sparse_conv_separates_batch_items():
    coordinates, features, _, _ = voxels(5)
    weight = torch.randn(27, 3, 2, dtype=torch.float64)
    mine = coordinates[:, 0] == 0
    together = sparse_conv(features, weight, submanifold_rulebook(coordinates))[mine]
    alone = sparse_conv(features[mine], weight, submanifold_rulebook(coordinates[mine]))
    assert torch.allclose(together, alone)


def test_sparse_conv_rejects_invalid_input():
    coordinates, features, _, _ = voxels(0)
    with pytest.raises(ShapeError, match="sorted"):
        submanifold_rulebook(coordinates.flip(0))
    with pytest.raises(ShapeError, match="odd"):
        submanifold_rulebook(coordinates, 2)
    with pytest.raises(ShapeError, match="taps"):
        sparse_conv(features, torch.zeros(8, 3, 2, dtype=torch.float64), submanifold_rulebook(coordinates))
    empty = submanifold_rulebook(torch.zeros(0, 4, dtype=torch.int64))
    assert sparse_conv(torch.zeros(0, 3), torch.zeros(27, 3, 2), empty).shape == (0, 2)
