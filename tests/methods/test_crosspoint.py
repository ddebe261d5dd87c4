"""CrossPoint."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.methods.crosspoint.method import CrossPoint
from dimlift.methods.teachers.teacher import open_teacher
from small_point_clouds import point_batch, small_network


@pytest.fixture
def method():
    torch.manual_seed(0)
    teacher = open_teacher("timm:test_vit", dynamic_img_size=True)
    return CrossPoint(small_network(), teacher, teacher.frozen.network.num_features, render_size=32)


def test_crosspoint_contrasts_two_augmentations_and_their_mean_with_the_image(method, monkeypatch):
    calls, channels = [], method.image_projection[0].in_features

    def nt_xent(one, other):
        calls.append((one, other))
        return one.new_tensor(10.0 ** len(calls))

    monkeypatch.setattr(method, "nt_xent", nt_xent)
    monkeypatch.setattr(method, "embed_images", lambda points: torch.ones(len(points), channels))
    assert method.loss(point_batch()) == 10 + 100
    (one, other), (mean, images) = calls
    assert not torch.allclose(one, other)
    torch.testing.assert_close(mean, (one + other) / 2)
    torch.testing.assert_close(images, method.image_projection(torch.ones(2, channels)))


def test_crosspoint_nt_xent_distinguishes_rows(method):
    rows = torch.eye(4)
    assert method.nt_xent(rows, rows) < 0.01 < method.nt_xent(rows, rows.flip(0))
    with pytest.raises(ShapeError, match="batch_size"):
        method.loss(point_batch(1))
