"""`Predictor` on samples, files and arrays of both modalities."""

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dimlift.config.method_config import TaskSpec
from dimlift.data.preprocessing.intensity import IntensityNormalisation
from dimlift.data.preprocessing.point_clouds import PointCloudPreprocessing, PointCloudSample
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.errors import DataError, RunError
from dimlift.inference.predictor import Predictor
from dimlift.methods.method import Method
from dimlift.methods.registry import METHODS
from dimlift.records.weights import read_card


class AboveOrigin(Method):
    """Predict the second class above the origin of the input; store the largest distance from it."""

    def __init__(self) -> None:
        super().__init__()
        self.reach, self.unused = 0.0, nn.Parameter(torch.zeros(1))

    def forward(self, points: Tensor, features: Tensor | None) -> Tensor:
        self.reach = max(self.reach, float(points.norm(dim=-1).max()))
        return torch.stack([-points[..., 2], points[..., 2]], dim=-1) * 100


@pytest.mark.parametrize("crop_radius", [None, 0.5])
def test_predict_proba_centres_crops_and_keeps_the_order_of_points(crop_radius):
    points = np.random.default_rng(0).uniform(-3, 3, (200, 3)).astype(np.float32)
    preprocessing = PointCloudPreprocessing(
        {"below": 0, "above": 1}, normalise="centre", num_points=16, crop_radius=crop_radius
    )
    task = TaskSpec("segmentation", 3, 2, None, (0, 0, 0))
    predictor = Predictor(METHODS["point_unet"](), task, preprocessing, AboveOrigin())
    found = predictor.predict_proba(PointCloudSample("a", points))
    assert found.shape == (200, 2)
    if crop_radius is None:
        np.testing.assert_array_equal(found.argmax(1), points[:, 2] > 0)
    else:
        assert predictor.method.reach <= crop_radius + 1e-6


class Bright(Method):
    """Predict the second class where the image is above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        return torch.cat([-image, image], dim=1)


@pytest.fixture
def segmenter():
    preprocessing = Preprocessing(
        ("T1",), {"tumour": 7}, None, None, (1.0, 1.0, 1.0), "z", (IntensityNormalisation("none"),)
    )
    task = TaskSpec("segmentation", 1, 2, (1.0, 1.0, 1.0), (8, 8, 8))
    return Predictor(METHODS["unet"](), task, preprocessing, Bright())


def test_predict_returns_label_values_on_the_axes_of_a_file_or_array(segmenter, tmp_path):
    volume = np.random.default_rng(0).normal(size=(5, 9, 12)).astype(np.float32)  # z, y, x
    expected = np.where(volume > 0, 7, 0)
    np.testing.assert_array_equal(segmenter.predict(volume, spacing=(2.0, 1.0, 1.0)), expected)
    np.testing.assert_array_equal(segmenter.predict(volume[None]), expected)
    nib.save(nib.Nifti1Image(volume.transpose(), np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(segmenter.predict(tmp_path / "scan.nii.gz"), expected.transpose())
    np.testing.assert_array_equal(segmenter.predict([tmp_path / "scan.nii.gz"]), expected.transpose())
    sample = segmenter.preprocessing.read_image([tmp_path / "scan.nii.gz"])
    assert set(np.unique(segmenter.predict(sample))) == {0, 1}
    assert segmenter.predict_proba(sample).shape == (2, *sample.image.shape[1:])


def test_predict_refuses_arrays_with_another_number_of_channels(segmenter):
    with pytest.raises(DataError, match="2 channels"):
        segmenter.predict(np.zeros((2, 5, 5, 5)))


def test_predict_proba_refuses_regression(segmenter):
    segmenter.task = TaskSpec("regression", 1, 1, None, (8, 8, 8))
    with pytest.raises(RunError, match="use predict"):
        segmenter.predict_proba(np.zeros((5, 5, 5)))


def test_save_names_the_modality(tmp_path):
    arm, task = METHODS["unet"](widths=(4, 8), residual_units=0), TaskSpec("segmentation", 1, 2, None, (8, 8, 8))
    preprocessing = Preprocessing(
        ("T1",), {"tumour": 7}, None, None, (1.0, 1.0, 1.0), "z", (IntensityNormalisation("none"),)
    )
    folder = Predictor(arm, task, preprocessing, arm.build(task)).save(tmp_path)
    assert read_card(folder)["modality"] == "volumes"
    assert Predictor.load(folder).modality.name == "volumes"
