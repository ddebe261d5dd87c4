"""Values that networks learn badly from are remarked on, those of every proper scaling are not."""

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.blosc_samples import packed
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.intensity_scale import remarks_on_scale


def volumes(scale, shift=0.0):
    rng = np.random.default_rng(0)
    return [np.stack([rng.normal(size=(4, 5, 6)), shift + scale * rng.normal(size=(4, 5, 6))]) for _ in range(9)]


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0), (100, 0), (1, 50), (0, 0)])
def test_a_channel_off_the_scale_is_named(scale, shift):
    (remark,) = remarks_on_scale(volumes(scale, shift))
    assert remark.startswith("channel 1 has mean")
    assert "preprocessing.modality=mr" in remark


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.25, 0.5), (3, -2)])
def test_usual_scales_pass(scale, shift):
    assert remarks_on_scale(volumes(scale, shift)) == []


def test_one_strange_volume_is_no_reason():
    assert remarks_on_scale([*volumes(1)[:8], volumes(1000)[0]]) == []


def test_packed_volumes_are_measured_as_those_in_memory(plain_folder, tmp_path):
    dataset = open_dataset(plain_folder())
    preprocessing = Preprocessing.fit(dataset, dataset.cases, modality="none")
    read = [preprocessing.read(case).image for case in dataset.cases]
    stored = [packed(preprocessing, case, tmp_path).image for case in dataset.cases]
    assert remarks_on_scale(read) == remarks_on_scale(stored) != []
