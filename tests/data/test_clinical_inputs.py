"""CT windows, missing channels and sparse annotation, from files to network input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_files import SHAPE, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import DataError
from dimlift.metrics.scores import score_segmentation

WINDOWS = ((40.0, 400.0), (-600.0, 1500.0), (400.0, 1800.0))


def test_ct_windows_become_channels(nnunet_folder):
    dataset = open_dataset(nnunet_folder(channels=("CT",)))
    case = dataset.cases[0]
    hounsfield = np.linspace(-2000, 2000, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    save(case.images[0], hounsfield)
    fitted = Preprocessing.fit(dataset, dataset.cases, windows=WINDOWS)
    sample = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json()))).read(case)
    assert sample.image.shape[0] == len(fitted.normalisation) == 3
    there = sample.geometry.reorientation.forward(hounsfield)
    for channel, (centre, width) in zip(sample.image, WINDOWS, strict=True):
        expected = np.clip((there - centre) / (width / 2), -1, 1)
        np.testing.assert_allclose(channel, expected, atol=1e-5)


def test_ct_windows_with_other_channels(nnunet_folder):
    root = nnunet_folder(channels=("CT", "T1"))
    dataset = open_dataset(root)
    sample = Preprocessing.fit(dataset, dataset.cases, windows=WINDOWS[:2]).read(dataset.cases[0])
    assert sample.image.shape[0] == 3
    plain = Preprocessing.fit(dataset, dataset.cases).read(dataset.cases[0])
    np.testing.assert_array_equal(sample.image[2], plain.image[1])
    with pytest.raises(DataError, match="windows need a CT channel; the channels are CT, T1"):
        Preprocessing.fit(dataset, dataset.cases, modality="mr", windows=WINDOWS)
    with pytest.raises(DataError, match="positive widths"):
        Preprocessing.fit(dataset, dataset.cases, windows=((40, 0),))


def test_missing_channel_is_zero(nnunet_folder):
    root = nnunet_folder(channels=("T1", "T2", "FLAIR"))
    dataset = open_dataset(root)
    whole = Preprocessing.fit(dataset, dataset.cases, missing="allow").read(dataset.cases[0])
    dataset.cases[0].images[0].unlink()  # the first one, so that the grid is taken from another
    dataset = open_dataset(root)
    fitted = Preprocessing.fit(dataset, dataset.cases, missing="allow")
    sample = fitted.read(dataset.cases[0])
    assert not sample.image[0].any()
    np.testing.assert_array_equal(sample.image[1:], whole.image[1:])
    with pytest.raises(DataError, match="does not exist"):
        replace(fitted, missing="error").read(dataset.cases[0])
    for path in dataset.cases[0].images[1:]:
        path.unlink()
    with pytest.raises(DataError, match="none of its channels"):
        fitted.read(dataset.cases[0])


def test_check_dataset_reports_missing_channel(nnunet_folder):
    root = nnunet_folder(channels=("T1", "T2"))
    open_dataset(root).cases[1].images[1].unlink()
    dataset = open_dataset(root)
    (strict,) = [f for f in check_dataset(dataset) if "_0001" in f.file]
    assert strict.level == "error"
    assert "missing_channels" in strict.fix
    assert [f.level for f in check_dataset(dataset, missing="allow")] == ["warning"]


def test_csv_table_accepts_empty_channel(tmp_path):
    for name in ("a1", "a2", "b2"):
        save(tmp_path / f"{name}.nii.gz", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) + ord(name[0]))
    for name in ("am", "bm"):
        save(tmp_path / f"{name}.nii.gz", make_mask(0))
    table = tmp_path / "t.csv"
    table.write_text("image,image2,label\na1.nii.gz,a2.nii.gz,am.nii.gz\n,b2.nii.gz,bm.nii.gz\n")
    dataset = open_dataset(table)
    assert [case.name for case in dataset.cases] == ["a1", "b2"]
    levels = {f.level for f in check_dataset(dataset, missing="allow")}
    assert "error" not in levels
    sample = Preprocessing.fit(dataset, dataset.cases, missing="allow").read(dataset.cases[1])
    assert [channel.any() for channel in sample.image] == [False, True]


def test_channel_dropout_keeps_one_channel(nnunet_folder):
    root = nnunet_folder(channels=("T1", "T2", "FLAIR"))
    open_dataset(root).cases[0].images[1].unlink()
    dataset = open_dataset(root)
    fitted = Preprocessing.fit(dataset, dataset.cases, missing="allow")
    samples = [fitted.read(case) for case in dataset.cases[:1]]
    present = []
    for dropout in (0.0, 0.6):
        sampler = PatchSampler(samples, (8, 8, 8), channel_dropout=dropout)
        batches = [sampler.batch(step, 4) for step in range(6)]
        repeated = sampler.batch(3, 4)
        assert (repeated.image == batches[3].image).all()
        present.append([tuple(bool(c.any()) for c in image) for batch in batches for image in batch.image])
    assert set(present[0]) == {(True, False, True)}
    assert set(present[1]) == {(True, False, True), (True, False, False), (False, False, True)}


def test_sparse_annotation_is_ignored(nnunet_folder):
    """Two slices of a case are annotated, the rest has the ignore label and does not affect scores."""
    root = nnunet_folder(labels={"background": 0, "a": 1, "b": 2, "ignore": 9})
    dataset = open_dataset(root)
    case = dataset.cases[0]
    mask = make_mask(0)
    mask[..., 2:] = 9
    save(case.label, mask)
    fitted = Preprocessing.fit(dataset, dataset.cases)
    sample = fitted.read(case)
    assert (sample.label == -1).sum() == (mask == 9).sum()
    sampler = PatchSampler([sample], (6, 6, 6), augment=False, oversample_foreground=1.0)
    for step in range(5):
        assert (sampler.batch(step, 2).label != -1).any()
    some, other = mask.copy(), mask.copy()
    some[mask == 9], other[mask == 9] = 1, 2
    scores = [score_segmentation("x", p, mask, dataset.labels, (1, 1, 1), dataset.ignore) for p in (some, other)]
    assert scores[0] == scores[1]
    assert {s.value for s in scores[0] if s.metric == "dice"} == {1.0}
