"""Warnings about intensities far from zero mean and unit variance."""

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.blosc_samples import load_blosc_sample
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.intensity_scale import check_intensity_scale


def volumes(scale, shift=0.0):
    rng = np.random.default_rng(0)
    return [np.stack([rng.normal(size=(4, 5, 6)), shift + scale * rng.normal(size=(4, 5, 6))]) for _ in range(9)]


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0), (100, 0), (1, 50), (0, 0)])
def test_check_intensity_scale_reports_channel(scale, shift):
    (message,) = check_intensity_scale(volumes(scale, shift))
    assert message.startswith("channel 1 has mean")
    assert "preprocessing.modality=mr" in message


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.25, 0.5), (3, -2)])
def test_check_intensity_scale_accepts_usual_values(scale, shift):
    assert check_intensity_scale(volumes(scale, shift)) == []


def test_check_intensity_scale_ignores_one_outlier():
    assert check_intensity_scale([*volumes(1)[:8], volumes(1000)[0]]) == []


def test_check_intensity_scale_of_blosc_arrays(plain_folder, tmp_path):
    dataset = open_dataset(plain_folder())
    preprocessing = Preprocessing.fit(dataset, dataset.cases, modality="none")
    read = [preprocessing.read(case).image for case in dataset.cases]
    stored = [load_blosc_sample(preprocessing, case, tmp_path).image for case in dataset.cases]
    assert check_intensity_scale(read) == check_intensity_scale(stored) != []
