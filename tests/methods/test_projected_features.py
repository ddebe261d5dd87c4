"""A view paints the points it sees, and nothing behind them."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.errors import DataError, ShapeError
from dimlift.geometry.cameras import Camera, back_project, pinhole, project, scaled
from dimlift.geometry.colours import feature_colours, picture_of
from dimlift.methods.points.painting import PosedPicture, paint
from dimlift.methods.teachers.feature_maps import TeacherMaps
from dimlift.methods.teachers.teacher import wrap_teacher

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_frames import write_recording


class Colours(nn.Module):
    """A 2D network whose features are the colours themselves, pixel by pixel."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.patch_embed = nn.Identity()
        self.patch_embed.patch_size = (1, 1)

    def forward_intermediates(self, pictures, **_):
        return [pictures]


@pytest.fixture
def maps():
    return TeacherMaps(wrap_teacher(Colours(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


@pytest.fixture
def frames(tmp_path):
    return [read_frame(files) for files in find_frames(write_recording(tmp_path / "room", frames=3, shift=0.4))]


def views_of(frames):
    return [PosedPicture(frame.name, frame.picture, frame.colour_camera) for frame in frames]


def test_a_hidden_point_gets_nothing_from_the_view_that_does_not_see_it(frames, maps):
    """The box hides other parts of the wall from each place; the cloud is fused from all three."""
    clouds = [back_project(frame.depth.double(), frame.depth_camera)[0] for frame in frames]
    points = torch.cat(clouds)
    first = frames[0].colour_camera
    found = paint(points, views_of(frames[:1]), maps, cell=1)
    places, _ = project(points, first)
    # on the wall, and straight behind the box as the first camera looks at it
    hidden = (points[:, 2] > 1.5) & ((points[:, :2] / points[:, 2:]).abs().amax(1) < 0.17)
    inside = (places > 0).all(1) & (places < torch.tensor([48.0, 32.0])).all(1)
    assert (hidden & inside).sum() > 50
    assert not found.views[hidden].any()
    assert not found.features[hidden].any()
    both = paint(points, views_of(frames), maps, cell=1)
    seen_later = hidden & (both.views > 0)
    assert seen_later.sum() > 50
    red = (points[:, 2] < 1.5) & (both.views > 0)
    # the box is red and the wall is not: nothing of the box's colour reaches the wall behind it
    inner = seen_later & ((points[:, :2] / points[:, 2:]).abs().amax(1) < 0.1)
    assert float(both.features[red][:, 0].mean()) > 0.8
    assert float(both.features[inner][:, 2].mean()) > 0.3
    # and if nothing hid anything, it would
    naive = paint(points, views_of(frames[:1]), maps, tolerance=10.0, cell=1)
    assert naive.views[hidden & inside].all()


def test_features_are_the_mean_over_the_views_that_see_a_point(maps):
    camera = Camera(pinhole(20.0, (16, 16)), torch.eye(4, dtype=torch.float64), (16, 16))
    point = torch.tensor([[0.0, 0.0, 2.0], [50.0, 0.0, 2.0]], dtype=torch.float64)
    dark, light = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    found = paint(point, [PosedPicture("a", dark, camera), PosedPicture("b", light, camera)], maps)
    assert found.views.tolist() == [2, 0]
    assert torch.allclose(found.features, torch.tensor([[0.4] * 3, [0.0] * 3]))


def test_a_point_gets_the_colour_of_its_own_pixel(frames, maps):
    points, pixels = back_project(frames[1].depth.double(), frames[1].depth_camera)
    found = paint(points, views_of(frames[1:2]), maps, cell=1)
    assert (found.views == 1).all()
    assert torch.allclose(found.features, frames[1].picture.flatten(1).T[pixels], atol=1e-4)


def test_what_cannot_be_painted_is_said(frames, maps):
    far = torch.full((4, 3), 1e4, dtype=torch.float64)
    with pytest.raises(DataError, match="camera-to-world"):
        paint(far, views_of(frames), maps)
    wrong = PosedPicture("b.png", torch.zeros(3, 8, 8), frames[0].colour_camera)
    with pytest.raises(ShapeError, match=r"b\.png"):
        paint(far, [wrong], maps)


def test_a_smaller_camera_sees_the_same_things_in_the_same_places():
    camera = Camera(pinhole(20.0, (30, 50)), torch.eye(4, dtype=torch.float64), (30, 50))
    small = scaled(camera, 1 / 4)
    assert small.size == (8, 13)
    points = torch.rand(20, 3, dtype=torch.float64) + torch.tensor([-0.5, -0.5, 2.0])
    assert torch.allclose(project(points, small)[0] * 4, project(points, camera)[0])


def test_colours_do_not_depend_on_the_order_of_points_and_show_the_main_axis():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=draw) * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.1])
    colours = feature_colours(features)
    order = torch.randperm(200, generator=draw)
    assert torch.allclose(feature_colours(features[order]), colours[order], atol=1e-4)
    assert abs(float(torch.corrcoef(torch.stack([colours[:, 0], features[:, 0]]))[0, 1])) > 0.95
    assert float(colours.min()) >= 0
    assert float(colours.max()) <= 1
    some = features[:, 0] > 0
    assert (feature_colours(features, some)[~some] == 0.5).all()


def test_a_picture_of_points_shows_the_nearest():
    camera = Camera(pinhole(20.0, (8, 8)), torch.eye(4, dtype=torch.float64), (8, 8))
    points = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    shown = picture_of(points, torch.tensor([[0.0, 1, 0], [1.0, 0, 0]]), camera)
    assert shown[:, 4, 4].tolist() == [1.0, 0.0, 0.0]
    assert int((shown.sum(0) == 3).sum()) == 63
