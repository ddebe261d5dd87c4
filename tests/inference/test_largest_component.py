"""The largest component of a class is kept, the others become background."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dimlift.errors import ConfigError
from dimlift.inference.largest_component import class_indices_named, keep_largest_components

MAPS = arrays(np.int16, (4, 5, 6), elements=st.integers(0, 2))


@given(labels=MAPS)
def test_one_component_is_left_and_it_is_the_largest(labels):
    kept = keep_largest_components(labels, [1])
    assert np.array_equal(kept == 2, labels == 2)
    assert ((kept == 1) <= (labels == 1)).all()
    found, count = ndimage.label(labels == 1, np.ones((3, 3, 3)))
    assert ndimage.label(kept == 1, np.ones((3, 3, 3)))[1] == min(count, 1)
    assert (kept == 1).sum() == max(np.bincount(found.ravel())[1:], default=0)


@given(labels=MAPS)
def test_classes_do_not_affect_each_other(labels):
    both = keep_largest_components(labels, [1, 2])
    assert np.array_equal(both == 1, keep_largest_components(labels, [1]) == 1)
    assert np.array_equal(both == 2, keep_largest_components(labels, [2]) == 2)
    assert np.array_equal(keep_largest_components(labels, []), labels)


def test_unknown_label_is_named():
    assert class_indices_named(["b"], {"a": 1, "b": 2}) == [2]
    with pytest.raises(ConfigError, match="no label 'c'; choose of: a, b"):
        class_indices_named(["c"], {"a": 1, "b": 2})
