"""Synthetic heads: a valid dataset, deterministic, marked as simulated."""

import json
from pathlib import Path

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.synthetic.heads import LABELS, simulate_head, simulate_heads
from dimlift.errors import DataError

SIZE = (20, 24, 18)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_heads(tmp_path_factory.mktemp("heads"), subjects=4, seed=3, size=SIZE)


def test_simulate_heads_is_a_valid_dataset(folder: Path):
    dataset = open_dataset(folder)
    assert check_dataset(dataset) == []
    assert dataset.labels == {name: value for name, value in LABELS.items() if value}
    assert len(dataset.cases) == 4
    fitted = Preprocessing.fit(dataset, dataset.cases)
    assert fitted.slice_axis == "z"
    assert fitted.read(dataset.cases[0]).image.shape == (1, *SIZE)


def test_simulate_heads_is_marked_as_simulated(folder: Path):
    description = json.loads((folder / "dataset.json").read_text())
    assert description["simulated"] is True
    assert "Synthetic" in description["description"]


def test_simulate_heads_is_deterministic(folder: Path, tmp_path: Path):
    again = simulate_heads(tmp_path, subjects=2, seed=3, size=SIZE)
    for name in ("imagesTr/subject_001_0000.nii.gz", "labelsTr/subject_002.nii.gz"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    first, second = (simulate_head(np.random.default_rng([3, index]), SIZE) for index in range(2))
    assert not np.array_equal(first[1], second[1])
    assert not np.array_equal(first[2], second[2])


def test_simulate_heads_tissue_contrast():
    """White matter lies deeper than grey, is brighter in T1, and every class has its share."""
    image, label, _ = simulate_head(np.random.default_rng(0), (52, 60, 48))
    shares = np.bincount(label.ravel(), minlength=4) / label.size
    assert (shares[1:] > 0.02).all()
    assert image[label == 2].mean() > image[label == 1].mean() > image[label == 0].mean()
    middle = (np.array(label.shape) - 1) / 2
    depth = {tissue: np.linalg.norm(np.argwhere(label == tissue) - middle, axis=1).mean() for tissue in (1, 2)}
    assert depth[2] < depth[1]


def test_simulate_heads_rejects_small_requests(tmp_path: Path):
    with pytest.raises(DataError, match="at least 2"):
        simulate_heads(tmp_path / "a", subjects=1)
    with pytest.raises(DataError, match="at least 8 per axis"):
        simulate_heads(tmp_path / "a", size=(4, 20, 20))
    assert not (tmp_path / "a").exists()
