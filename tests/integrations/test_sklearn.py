"""scikit-learn's contract, and that arrays come back where they were: same answers as files, same axes."""

import nibabel as nib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from dimlift.errors import DataError
from dimlift.integrations.sklearn import DimliftClassifier, DimliftSegmenter

TRAINING = {"patch_size": [8, 8, 8], "batch_size": 2, "rate": 0.02, "augment": False, "threads": 1, "device": "cpu"}
UNET = {"method": "unet", "widths": [8, 16], "residual_units": 1}
RESNET = {"method": "slices", "network": "timm:test_resnet", "pretrained": False}
SEGMENTER = DimliftSegmenter(UNET, {"steps": 60}, TRAINING, spacing=(2.0, 1.0, 1.0))
CLASSIFIER = DimliftClassifier(RESNET, {"steps": 40}, {**TRAINING, "patch_size": "auto"})


@pytest.fixture(scope="module")
def blocks():
    """Volumes (6, 7, 9, 11) in noise with one bright block, never in the middle, so that a turned axis is seen."""
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 7, 9, 11), np.int64)
    for number, mask in enumerate(masks):
        mask[0:3, 1 : 4 + number % 2, 6:10] = 2
    return (3.0 * (masks > 0) + rng.normal(0, 0.3, masks.shape)).astype(np.float32), masks


@pytest.fixture(scope="module")
def kinds():
    """Ramps and noise, and what they are called."""
    rng = np.random.default_rng(0)
    names = np.array(["smooth", "rough"] * 4)
    ramp = np.linspace(-1, 1, 16)[None, None, :] * np.ones((8, 16, 16))
    noise = rng.normal(0, 1, (8, 8, 16, 16))
    return np.where((names == "rough")[:, None, None, None], noise, ramp + 0.01 * noise).astype(np.float32), names


@pytest.mark.parametrize("estimator", [SEGMENTER, CLASSIFIER])
def test_a_clone_has_the_same_parameters_and_nothing_learnt(estimator):
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.set_params(seed=3).seed == 3
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 8, 8, 8)))


def test_segmentations_lie_where_the_volumes_do_and_files_get_the_same_answer(blocks, tmp_path):
    volumes, masks = blocks
    fitted = clone(SEGMENTER).fit(volumes[:4], masks[:4])
    found = fitted.predict(volumes[4:])
    assert found.shape == masks[4:].shape
    assert set(np.unique(found)) <= {0, 2}
    overlap = (
        2
        * ((found > 0) & (masks[4:] > 0)).sum(axis=(1, 2, 3))
        / ((found > 0).astype(int) + (masks[4:] > 0)).sum(axis=(1, 2, 3))
    )
    assert overlap.mean() > 0.6
    assert fitted.score(volumes[4:], masks[4:]) == pytest.approx(overlap.mean())
    nib.save(nib.Nifti1Image(volumes[4].transpose(), np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "volume.nii.gz")
    (from_file,) = fitted.predict([tmp_path / "volume.nii.gz"])
    np.testing.assert_array_equal(from_file.transpose(), found[0])


def test_cross_validation_of_a_segmenter(blocks):
    volumes, masks = blocks
    scores = cross_val_score(clone(SEGMENTER).set_params(budget={"steps": 2}), volumes[:, None], masks, cv=2)
    assert scores.shape == (2,)
    assert np.all((scores >= 0) & (scores <= 1))


def test_cross_validation_of_a_classifier(kinds):
    volumes, names = kinds
    scores = cross_val_score(CLASSIFIER, volumes, names, cv=2, error_score="raise")
    assert scores.mean() > 0.7


def test_classes_are_called_what_they_were_called(kinds):
    volumes, names = kinds
    fitted = clone(CLASSIFIER).fit(volumes, names)
    assert list(fitted.classes_) == ["rough", "smooth"]
    chances = fitted.predict_proba(volumes)
    assert chances.shape == (8, 2)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert set(fitted.predict(volumes)) <= set(names)
    assert fitted.score(volumes, names) > 0.7


@pytest.mark.parametrize(
    ("estimator", "volumes", "answers", "told"),
    [
        (SEGMENTER, np.zeros((2, 8)), np.zeros((2, 8)), r"shape \(2, 8\) holds no volumes; \(N, D, H, W\)"),
        (SEGMENTER, np.zeros((2, 8, 8, 8)), np.zeros((3, 8, 8, 8)), "2 volumes, y 3 masks"),
        (SEGMENTER, np.zeros((2, 8, 8, 8)), np.full((2, 8, 8, 8), 0.5), "not whole; give class numbers"),
        (CLASSIFIER, np.zeros((2, 8, 8, 8)), np.zeros(3), r"\(2,\) is wanted: one label for each volume"),
    ],
)
def test_what_is_no_volume_or_answer_is_refused(estimator, volumes, answers, told):
    with pytest.raises(DataError, match=told):
        clone(estimator).fit(volumes, answers)
