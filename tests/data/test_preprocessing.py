"""Preprocessing is fitted on the training cases, stored and repeated exactly."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, make_mask, save

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.intensity import IntensityNormalisation, choose_scheme, fit_ct_normalisation
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import IGNORED
from dimlift.errors import DataError, GeometryMismatchError, UnknownNameError


def test_preprocessing_json_roundtrip(nnunet_folder):
    dataset = open_dataset(nnunet_folder(channels=("CT", "T1")))
    for spacing in ("native", "median", (1.0, 2.0, 3.0)):
        fitted = Preprocessing.fit(dataset, dataset.cases, spacing)
        again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
        assert again == fitted
        first, second = fitted.read(dataset.cases[0]), again.read(dataset.cases[0])
        assert np.array_equal(first.image, second.image)


def test_preprocessing_from_json_rejects_unknown_fields(nnunet_folder):
    dataset = open_dataset(nnunet_folder())
    content = Preprocessing.fit(dataset, dataset.cases).to_json()
    with pytest.raises(DataError, match="train again"):
        Preprocessing.from_json({**content, "new_field": 1})
    with pytest.raises(DataError, match="unknown normalisation scheme 'zscor'"):
        Preprocessing.from_json({**content, "normalisation": [{"scheme": "zscor"}]})


def test_choose_scheme_by_channel_name():
    assert [choose_scheme(name) for name in ("CT", "ct ", "T1", "image", "noNorm")] == [
        "ct",
        "ct",
        "zscore",
        "zscore",
        "none",
    ]
    assert choose_scheme("T1", "ct") == "ct"
    with pytest.raises(UnknownNameError, match="auto, ct, mr"):
        choose_scheme("T1", "xray")


def test_ct_normalisation_uses_training_foreground(nnunet_folder):
    dataset = open_dataset(nnunet_folder(cases=3, channels=("CT",)))
    rule = Preprocessing.fit(dataset, dataset.cases[:2]).normalisation[0]
    voxels = np.concatenate([make_image(i)[make_mask(i) > 0] for i in (0, 1)])
    low, high = np.percentile(voxels, [0.5, 99.5])
    assert (rule.low, rule.high) == pytest.approx((low, high))
    assert (rule.mean, rule.std) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-5)
    out = rule.apply(np.array([-5000.0, 5000.0], np.float32))
    assert out == pytest.approx([(low - rule.mean) / rule.std, (high - rule.mean) / rule.std])


def test_fit_ct_normalisation_requires_foreground():
    with pytest.raises(DataError, match="no foreground"):
        fit_ct_normalisation([np.array([])])


def test_zscore_normalisation():
    scaled = IntensityNormalisation("zscore").apply(make_image(0))
    assert scaled.mean() == pytest.approx(0, abs=1e-5)
    assert scaled.std() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(IntensityNormalisation("zscore").apply(np.full((2, 2), 7, np.float32)), np.zeros((2, 2)))


def test_zscore_foreground_normalisation():
    image = make_image(0)
    image[:3] = 0
    scaled = IntensityNormalisation("zscore_foreground").apply(image)
    assert (scaled[:3] == 0).all()
    assert scaled[3:].mean() == pytest.approx(0, abs=1e-5)


def test_preprocessing_maps_labels_to_class_indices(tmp_path: Path):
    mask = np.array([0, 3, 7, 200], np.uint8).reshape(4, 1, 1)
    image = save(tmp_path / "i.nii.gz", make_image(0, (4, 1, 1)))
    case = Case("a", (image,), save(tmp_path / "l.nii.gz", mask), "a")
    dataset = Dataset("d", tmp_path, (case,), ("T1",), {"c": 200, "a": 3, "b": 7})
    fitted = Preprocessing.fit(dataset, dataset.cases)
    assert fitted.class_indices == {"a": 1, "b": 2, "c": 3}
    sample = fitted.read(case)
    assert sorted(sample.label.ravel().tolist()) == [0, 1, 2, 3]
    assert np.array_equal(fitted.restore(sample.label, sample.geometry), mask)


def test_preprocessing_marks_ignored_voxels(tmp_path: Path):
    mask = np.array([0, 1, 2, 9], np.uint8).reshape(4, 1, 1)
    image = save(tmp_path / "i.nii.gz", make_image(0, (4, 1, 1)))
    case = Case("a", (image,), save(tmp_path / "l.nii.gz", mask), "a")
    dataset = Dataset("d", tmp_path, (case,), ("T1",), {"a": 1, "b": 2}, ignore=9)
    sample = Preprocessing.fit(dataset, dataset.cases).read(case)
    assert sorted(sample.label.ravel().tolist()) == [IGNORED, 0, 1, 2]


def test_ignored_equals_batch_ignore():
    from dimlift.batch import IGNORE

    assert IGNORED == IGNORE


def test_preprocessing_applies_nan_policy(plain_folder):
    root = plain_folder(2)
    dataset = open_dataset(root)
    image = make_image(0)
    image[2, 3, 4] = np.nan
    save(root / "images" / "case_0.nii.gz", image)
    fitted = Preprocessing.fit(dataset, dataset.cases)
    with pytest.raises(DataError, match=r"case_0\.nii\.gz: has 1 NaN"):
        fitted.read(dataset.cases[0])
    replaced = replace(fitted, nan_policy="replace").read(dataset.cases[0])
    masked = replace(fitted, nan_policy="mask").read(dataset.cases[0])
    assert np.isfinite(replaced.image).all()
    assert (replaced.label != IGNORED).all()
    assert [tuple(position) for position in np.argwhere(masked.label == IGNORED)] == [(4, 3, 2)]  # (z, y, x)


def test_masked_voxels_are_excluded_from_statistics(plain_folder):
    root = plain_folder(2)
    dataset = open_dataset(root)
    image = make_image(0)
    image[0] = np.inf
    save(root / "images" / "case_0.nii.gz", image)
    sample = Preprocessing.fit(dataset, dataset.cases, nan_policy="mask").read(dataset.cases[0])
    assert sample.image[0][..., 1:].mean() == pytest.approx(0, abs=1e-5)


def test_preprocessing_rejects_wrong_channel_count(nnunet_folder):
    dataset = open_dataset(nnunet_folder(channels=("T1", "T2")))
    fitted = Preprocessing.fit(dataset, dataset.cases)
    with pytest.raises(DataError, match=r"has 1 channels; 2 are expected \(T1, T2\)"):
        fitted.read_image(dataset.cases[0].images[:1])


def test_preprocessing_accepts_channels_on_last_axis(tmp_path: Path, nnunet_folder):
    dataset = open_dataset(nnunet_folder(channels=("T1", "T2")))
    fitted = Preprocessing.fit(dataset, dataset.cases)
    both = np.stack([make_image(0), make_image(100)], axis=-1)
    together = fitted.read_image([save(tmp_path / "both.nii.gz", both)])
    assert np.array_equal(together.image, fitted.read(dataset.cases[0]).image)


def test_preprocessing_rejects_mask_on_other_grid(plain_folder):
    root = plain_folder(2)
    save(root / "labels" / "case_0.nii.gz", make_mask(0), np.diag([1.0, 1.0, 1.2, 1.0]))
    dataset = open_dataset(root)
    with pytest.raises(GeometryMismatchError, match="voxels"):
        Preprocessing.fit(dataset, dataset.cases).read(dataset.cases[0])


def test_preprocessing_depth_is_the_thick_axis(tmp_path: Path):
    affine = np.diag([0.5, 4.0, 0.5, 1.0])  # thick along y
    case = Case("a", (save(tmp_path / "i.nii.gz", make_image(0, (8, 3, 9)), affine),), None, "a")
    dataset = Dataset("d", tmp_path, (case,), ("T1",), {"a": 1})
    fitted = Preprocessing.fit(dataset, dataset.cases)
    assert fitted.slice_axis == "y"
    assert fitted.typical_spacing == (4.0, 0.5, 0.5)
    sample = fitted.read(case)
    assert sample.image.shape == (1, 3, 9, 8)
    assert sample.geometry.axes == ("y", "z", "x")
    resampled = replace(fitted, spacing=(2.0, 1.0, 1.0)).read(case)
    assert resampled.image.shape == (1, 6, 4, 4)
    assert resampled.geometry.spacing == pytest.approx((2.0, 1.125, 1.0))


def test_preprocessing_resamples_image_and_label_alike(tmp_path: Path):
    sphere = ((np.indices((20, 22, 18)) - np.array([9.5, 8, 10]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 36
    image = save(tmp_path / "i.nii.gz", sphere.astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    label = save(tmp_path / "l.nii.gz", sphere.astype(np.uint8), np.diag([1.0, 1.0, 2.0, 1.0]))
    dataset = Dataset("d", tmp_path, (Case("a", (image,), label, "a"),), ("T1",), {"a": 1})
    sample = Preprocessing.fit(dataset, dataset.cases, (1.5, 1.5, 1.5), modality="none").read(dataset.cases[0])
    assert ((sample.image[0] > 0.5) == (sample.label == 1)).mean() > 0.99


@pytest.mark.parametrize("spacing", ["medium", (1.0, 2.0), (1.0, 1.0, 0.0)])
def test_preprocessing_rejects_invalid_spacing(nnunet_folder, spacing):
    dataset = open_dataset(nnunet_folder())
    with pytest.raises(DataError, match="three positive numbers"):
        Preprocessing.fit(dataset, dataset.cases, spacing)


def test_preprocessing_requires_training_cases(nnunet_folder):
    with pytest.raises(DataError, match="check the split"):
        Preprocessing.fit(open_dataset(nnunet_folder()), [])
