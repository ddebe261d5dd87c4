"""Resampling keeps the outer faces, constants, straight lines and label values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dimlift.data.preprocessing.resampling import resample_image, resample_labels, resampled_shape

SHAPES = st.tuples(*[st.integers(1, 14)] * 3)


@settings(max_examples=40, deadline=None)
@given(old=SHAPES, new=SHAPES)
def test_a_constant_stays_itself(old, new):
    image = resample_image(np.full((2, *old), 3.5, np.float32), new)
    assert image.shape == (2, *new)
    assert np.allclose(image, 3.5)


def test_a_straight_line_stays_in_place():
    """Voxel o of n shows the place (o + 0.5) / n of the extent, on both grids; away from the repeated edges."""
    line = np.broadcast_to(((np.arange(24) + 0.5) / 24)[:, None, None], (24, 4, 4)).astype(np.float32)
    for count in (17, 24, 40):
        resampled = resample_image(line[None], (count, 4, 4), spacing=(4.0, 1.0, 1.0))[0, :, 0, 0]
        inner = slice(count // 8, -count // 8)
        assert np.allclose(resampled[inner], ((np.arange(count) + 0.5) / count)[inner], atol=2e-3)


def test_thick_slices_are_interpolated_linearly_as_scipy_does():
    image = np.random.default_rng(0).normal(size=(6, 5, 5)).astype(np.float32)
    ours = resample_image(image[None], (12, 5, 5), spacing=(5.0, 1.0, 1.0))[0]
    theirs = ndimage.zoom(image, (2, 1, 1), order=1, mode="nearest", grid_mode=True)
    assert np.allclose(ours, np.clip(theirs, image.min(), image.max()), atol=1e-5)


def test_cubic_interpolation_does_not_overshoot():
    image = np.zeros((1, 12, 12, 12), np.float32)
    image[:, 6:] = 1
    resampled = resample_image(image, (31, 31, 31))
    assert resampled.min() == 0
    assert resampled.max() == 1


@settings(max_examples=40, deadline=None)
@given(old=SHAPES, new=SHAPES, seed=st.integers(0, 100))
def test_labels_keep_their_values(old, new, seed):
    labels = np.random.default_rng(seed).choice([-1, 0, 3, 7], size=old).astype(np.int16)
    assert set(np.unique(resample_labels(labels, new))) <= set(np.unique(labels))


def plain_largest_share(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The definition, without boxes: every class over the whole volume."""
    ratio = [old / new for old, new in zip(labels.shape, shape, strict=True)]
    offset = [0.5 * step - 0.5 for step in ratio]
    values = np.unique(labels)
    shares = [
        ndimage.affine_transform(
            (labels == value).astype(np.float32), ratio, offset, output_shape=shape, order=1, mode="nearest"
        )
        for value in values
    ]
    return values[np.argmax(shares, axis=0)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), new=st.tuples(*[st.integers(3, 30)] * 3))
def test_boxes_change_nothing(seed, new):
    rng = np.random.default_rng(seed)
    labels = np.zeros((9, 14, 11), np.int16)
    for value in (1, 2, 5):
        z, y, x = (int(rng.integers(0, size - 3)) for size in labels.shape)
        labels[z : z + 4, y : y + 5, x : x + 3] = value
    ours, plain = resample_labels(labels, new), plain_largest_share(labels, new)
    assert (ours != plain).mean() < 0.002  # equal shares may fall either way by rounding


def test_a_label_survives_the_way_there_and_back():
    grid = np.indices((20, 20, 20)) - 9.5
    ball = ((grid**2).sum(axis=0) < 49).astype(np.int16)
    back = resample_labels(resample_labels(ball, (31, 15, 27)), ball.shape)
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.95


@pytest.mark.parametrize(
    ("spacing", "target", "wanted"),
    [((2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (20, 10, 10)), ((1.0, 1.0, 1.0), (50.0, 2.0, 3.0), (1, 5, 3))],
)
def test_the_extent_stays_the_same(spacing, target, wanted):
    assert resampled_shape((10, 10, 10), spacing, target) == wanted
