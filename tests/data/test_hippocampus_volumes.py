"""Real volumes, if they are available."""

from pathlib import Path

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.splits import cv_folds, require_classes
from dimlift.data.io.readers import read_volume
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.sampling.patch_sampler import PatchSampler

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HIPPOCAMPUS = SHARED / "hippocampus"
CT = SHARED / "totalsegmentator_ct" / "example_ct.nii.gz"

needs_hippocampus = pytest.mark.skipif(
    not HIPPOCAMPUS.is_dir(), reason="the hippocampus volumes are not beside the project"
)
needs_ct = pytest.mark.skipif(not CT.is_file(), reason="the CT volumes are not beside the project")


@needs_hippocampus
def test_hippocampus_dataset_roundtrip():
    dataset = open_dataset(HIPPOCAMPUS)
    assert len(dataset.cases) == 130
    assert dataset.labels == {"1": 1, "2": 2}
    assert check_dataset(dataset) == []
    train, test = cv_folds(dataset, 5, 0)[0]
    fitted = Preprocessing.fit(dataset, train)
    samples = [fitted.read(case) for case in test[:6]]
    require_classes(samples, fitted.class_indices)
    for case, sample in zip(test[:6], samples, strict=True):
        truth = read_volume(case.label)  # type: ignore[arg-type]
        assert np.array_equal(fitted.restore(sample.label, sample.geometry), truth.array)
    batch = PatchSampler(samples, (32, 64, 48)).batch(0, 2)
    assert batch.image.shape == (2, 1, 32, 64, 48)
    assert (batch.label > 0).any()


@needs_ct
def test_ct_roundtrip(tmp_path: Path):
    volume = read_volume(CT)
    table = tmp_path / "cases.csv"
    table.write_text(f"image,label\n{CT},body")
    dataset = open_dataset(table)
    fitted = Preprocessing.fit(dataset, dataset.cases, spacing=(6.0, 4.0, 4.0), modality="ct")
    sample = fitted.read(dataset.cases[0])
    assert np.isfinite(sample.image).all()
    bone = fitted.restore(np.zeros(sample.geometry.shape, int), sample.geometry)
    assert bone.shape == volume.shape
