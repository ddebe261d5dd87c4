"""scikit-learn estimators on arrays and files of both modalities."""

import nibabel as nib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from dimlift.errors import DataError
from dimlift.integrations.sklearn import DimliftClassifier, DimliftSegmenter

TRAINING = {"patch_size": [8, 8, 8], "batch_size": 2, "lr": 0.02, "augment": False, "num_threads": 1, "device": "cpu"}
UNET = {"method": "unet", "widths": [8, 16], "residual_units": 1}
RESNET = {"method": "slicewise", "network": "timm:test_resnet", "pretrained": False}
SEGMENTER = DimliftSegmenter(UNET, {"steps": 60}, TRAINING, spacing=(2.0, 1.0, 1.0))
CLASSIFIER = DimliftClassifier(RESNET, {"steps": 40}, {**TRAINING, "patch_size": "auto"})


@pytest.fixture(scope="module")
def blocks():
    """Volumes (6, 7, 9, 11) of noise with one bright block off centre, so that permuted axes are detected."""
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 7, 9, 11), np.int64)
    for number, mask in enumerate(masks):
        mask[0:3, 1 : 4 + number % 2, 6:10] = 2
    return (3.0 * (masks > 0) + rng.normal(0, 0.3, masks.shape)).astype(np.float32), masks


@pytest.fixture(scope="module")
def kinds():
    """Ramps and noise with their labels."""
    rng = np.random.default_rng(0)
    names = np.array(["smooth", "rough"] * 4)
    ramp = np.linspace(-1, 1, 16)[None, None, :] * np.ones((8, 16, 16))
    noise = rng.normal(0, 1, (8, 8, 16, 16))
    return np.where((names == "rough")[:, None, None, None], noise, ramp + 0.01 * noise).astype(np.float32), names


@pytest.mark.parametrize("estimator", [SEGMENTER, CLASSIFIER])
def test_clone_keeps_parameters_and_is_not_fitted(estimator):
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.set_params(seed=3).seed == 3
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 8, 8, 8)))


def test_segmenter_predicts_arrays_and_files_alike(blocks, tmp_path):
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


def test_segmenter_cross_validation(blocks):
    volumes, masks = blocks
    scores = cross_val_score(clone(SEGMENTER).set_params(budget={"steps": 2}), volumes[:, None], masks, cv=2)
    assert scores.shape == (2,)
    assert np.all((scores >= 0) & (scores <= 1))


def test_classifier_cross_validation(kinds):
    volumes, names = kinds
    scores = cross_val_score(CLASSIFIER, volumes, names, cv=2, error_score="raise")
    assert scores.mean() > 0.7


def test_classifier_keeps_class_names(kinds):
    volumes, names = kinds
    fitted = clone(CLASSIFIER).fit(volumes, names)
    assert list(fitted.classes_) == ["rough", "smooth"]
    probabilities = fitted.predict_proba(volumes)
    assert probabilities.shape == (8, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert set(fitted.predict(volumes)) <= set(names)
    assert fitted.score(volumes, names) > 0.7


@pytest.mark.parametrize(
    ("estimator", "volumes", "labels", "message"),
    [
        (SEGMENTER, np.zeros((2, 8)), np.zeros((2, 8)), r"shape \(2, 8\); expected \(N, D, H, W\)"),
        (SEGMENTER, np.zeros((2, 8, 8, 8)), np.zeros((3, 8, 8, 8)), "2 cases, y labels for 3"),
        (
            SEGMENTER,
            np.zeros((2, 8, 8, 8)),
            np.full((2, 8, 8, 8), 0.5),
            r"y\[0\]: holds values that are not integers \(0\.5\)",
        ),
        (SEGMENTER, np.zeros((2, 8, 8, 8)), np.zeros((2, 8, 8, 7)), r"y\[0\]: has labels of shape \(8, 8, 7\)"),
        (SEGMENTER, [np.zeros((8, 8, 8)), np.zeros((2, 8, 8, 8))], np.zeros((2, 8, 8, 8)), "cases of 1 and 2 channels"),
        (CLASSIFIER, np.zeros((2, 8, 8, 8)), np.zeros(3), r"expected \(2,\): one label for each case"),
    ],
)
def test_fit_refuses_unsuitable_arrays(estimator, volumes, labels, message):
    with pytest.raises(DataError, match=message):
        clone(estimator).fit(volumes, labels)


@pytest.fixture(scope="module")
def scans():
    """Six point clouds (60, 3) of two layers, and the layer of each point."""
    rng = np.random.default_rng(0)
    layer = np.tile(np.arange(60) % 2, (6, 1))
    points = rng.uniform(-1, 1, (6, 60, 3))
    points[..., 2] = 0.1 * points[..., 2] + layer
    return points, layer + 3


POINT_UNET = {"method": "point_unet", "width_multiplier": 0.25, "voxel_size": 0.2}
POINT_TRAINING = {"batch_size": 4, "lr": 0.02, "augment": False, "num_threads": 1, "device": "cpu"}


def test_segmenter_of_point_clouds(scans, tmp_path):
    points, labels = scans
    options = {"num_points": 48, "normalise": "centre"}
    fitted = DimliftSegmenter(POINT_UNET, {"steps": 25}, POINT_TRAINING, point_clouds=options).fit(
        points[:4], labels[:4]
    )
    found = fitted.predict(points[4:])
    assert found.shape == (2, 60)
    assert (found == labels[4:]).mean() > 0.9
    assert fitted.score(points[4:], labels[4:]) > 0.8
    np.savez(tmp_path / "scan.npz", points=points[4])
    (from_file,) = fitted.predict([tmp_path / "scan.npz"])
    np.testing.assert_array_equal(from_file, found[0])


def test_classifier_of_point_clouds():
    rng = np.random.default_rng(0)
    names = np.array(["ball", "disc"] * 4)
    clouds = [rng.normal(size=(70, 3)) * ([1, 1, 1] if name == "ball" else [1, 1, 0.05]) for name in names]
    fitted = DimliftClassifier(POINT_UNET, {"steps": 20}, POINT_TRAINING, point_clouds={"num_points": 48}).fit(
        clouds, names
    )
    assert list(fitted.classes_) == ["ball", "disc"]
    assert fitted.predict_proba(clouds).shape == (8, 2)
    assert fitted.score(clouds, names) > 0.7


def test_volumes_of_different_sizes_and_large_label_values(blocks):
    volumes, masks = blocks
    sizes = range(5, 8)
    images = [volume[:size] for volume, size in zip(volumes, sizes, strict=False)]
    labels = [35000 * mask[:size] for mask, size in zip(masks, sizes, strict=False)]
    fitted = clone(SEGMENTER).set_params(budget={"steps": 2}).fit(images, labels)
    assert list(fitted.predictor_.preprocessing.labels.values()) == [70000]
    found = fitted.predict(images)
    assert [array.shape for array in found] == [array.shape for array in images]
    assert set(np.unique(np.concatenate([array.ravel() for array in found]))) <= {0, 70000}
