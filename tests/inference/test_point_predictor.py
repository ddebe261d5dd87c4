"""What a trained network of points is shown of a cloud it has not seen."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dimlift.config.method_config import Task
from dimlift.data.preprocessing.point_clouds import CloudPreprocessing, CloudSample
from dimlift.inference.point_predictor import TrainedPoints
from dimlift.methods.registry import POINT_METHODS


class Above(nn.Module):
    """Sure of the second class where a point lies above the origin of what is shown; remembers how far that reached."""

    def __init__(self) -> None:
        super().__init__()
        self.reach, self.unused = 0.0, nn.Parameter(torch.zeros(1))

    def forward(self, points: Tensor, features: Tensor | None) -> Tensor:
        self.reach = max(self.reach, float(points.norm(dim=-1).max()))
        return torch.stack([-points[..., 2], points[..., 2]], dim=-1) * 100


@pytest.mark.parametrize("radius", [None, 0.5])
def test_a_ball_is_shown_around_its_centre_and_every_answer_keeps_its_point(radius):
    points = np.random.default_rng(0).uniform(-3, 3, (200, 3)).astype(np.float32)
    preprocessing = CloudPreprocessing({"below": 0, "above": 1}, frame="file", points=16, radius=radius)
    task = Task("segmentation", 3, 2, None, (0, 0, 0))
    trained = TrainedPoints(POINT_METHODS["point_unet"](), task, preprocessing, Above())
    found = trained.probabilities(CloudSample("a", points))
    assert found.shape == (200, 2)
    if radius is None:
        np.testing.assert_array_equal(found.argmax(1), points[:, 2] > 0)
    else:
        assert trained.method.reach <= radius + 1e-6
