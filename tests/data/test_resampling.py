"""Resampling keeps extent, constants, linear functions and label values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dimlift.data.preprocessing.resampling import resample_image, resample_labels, resampled_shape

SHAPES = st.tuples(*[st.integers(1, 14)] * 3)


@settings(max_examples=40, deadline=None)
@given(old=SHAPES, new=SHAPES)
def test_resample_image_keeps_constants(old, new):
    image = resample_image(np.full((2, *old), 3.5, np.float32), new)
    assert image.shape == (2, *new)
    assert np.allclose(image, 3.5)


def test_resample_image_keeps_positions():
    """Voxel o of n is at (o + 0.5) / n of the extent on both grids, away from the edges."""
    line = np.broadcast_to(((np.arange(24) + 0.5) / 24)[:, None, None], (24, 4, 4)).astype(np.float32)
    for count in (17, 24, 40):
        resampled = resample_image(line[None], (count, 4, 4), spacing=(4.0, 1.0, 1.0))[0, :, 0, 0]
        inner = slice(count // 8, -count // 8)
        assert np.allclose(resampled[inner], ((np.arange(count) + 0.5) / count)[inner], atol=2e-3)


def test_resample_image_of_thick_slices_matches_scipy():
    image = np.random.default_rng(0).normal(size=(6, 5, 5)).astype(np.float32)
    ours = resample_image(image[None], (12, 5, 5), spacing=(5.0, 1.0, 1.0))[0]
    expected = ndimage.zoom(image, (2, 1, 1), order=1, mode="nearest", grid_mode=True)
    assert np.allclose(ours, np.clip(expected, image.min(), image.max()), atol=1e-5)


def test_resample_image_does_not_overshoot():
    image = np.zeros((1, 12, 12, 12), np.float32)
    image[:, 6:] = 1
    resampled = resample_image(image, (31, 31, 31))
    assert resampled.min() == 0
    assert resampled.max() == 1


@settings(max_examples=40, deadline=None)
@given(old=SHAPES, new=SHAPES, seed=st.integers(0, 100))
def test_resample_labels_keeps_values(old, new, seed):
    labels = np.random.default_rng(seed).choice([-1, 0, 3, 7], size=old).astype(np.int16)
    assert set(np.unique(resample_labels(labels, new))) <= set(np.unique(labels))


def largest_membership_reference(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the definition without bounding boxes: every class over the whole volume."""
    ratio = [old / new for old, new in zip(labels.shape, shape, strict=True)]
    offset = [0.5 * step - 0.5 for step in ratio]
    values = np.unique(labels)
    memberships = [
        ndimage.affine_transform(
            (labels == value).astype(np.float32), ratio, offset, output_shape=shape, order=1, mode="nearest"
        )
        for value in values
    ]
    return values[np.argmax(memberships, axis=0)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), new=st.tuples(*[st.integers(3, 30)] * 3))
def test_resample_labels_matches_definition(seed, new):
    rng = np.random.default_rng(seed)
    labels = np.zeros((9, 14, 11), np.int16)
    for value in (1, 2, 5):
        z, y, x = (int(rng.integers(0, size - 3)) for size in labels.shape)
        labels[z : z + 4, y : y + 5, x : x + 3] = value
    ours, plain = resample_labels(labels, new), largest_membership_reference(labels, new)
    assert (ours != plain).mean() < 0.002  # ties are decided by rounding


def test_resample_labels_roundtrip():
    grid = np.indices((20, 20, 20)) - 9.5
    sphere = ((grid**2).sum(axis=0) < 49).astype(np.int16)
    back = resample_labels(resample_labels(sphere, (31, 15, 27)), sphere.shape)
    assert 2 * (back & sphere).sum() / (back.sum() + sphere.sum()) > 0.95


@pytest.mark.parametrize(
    ("spacing", "target", "expected"),
    [((2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (20, 10, 10)), ((1.0, 1.0, 1.0), (50.0, 2.0, 3.0), (1, 5, 3))],
)
def test_resampled_shape_keeps_extent(spacing, target, expected):
    assert resampled_shape((10, 10, 10), spacing, target) == expected
