"""Image features projected onto points."""

import pytest
import torch
from torch import nn

from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.errors import DataError, ShapeError
from dimlift.geometry.cameras import Camera, back_project, pinhole, project, scale_camera
from dimlift.geometry.colours import feature_colours, render_points
from dimlift.methods.projected_features.project import PosedImage, project_image_features
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps
from dimlift.methods.teachers.teacher import wrap_teacher
from small_frames import write_recording


class Colours(nn.Module):
    """A 2D network whose features are the colours of the pixels."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.patch_embed = nn.Identity()
        self.patch_embed.patch_size = (1, 1)

    def forward_intermediates(self, images, **_):
        return [images]


@pytest.fixture
def maps():
    return CachedFeatureMaps(wrap_teacher(Colours(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


@pytest.fixture
def frames(tmp_path):
    return [read_frame(files) for files in find_frames(write_recording(tmp_path / "room", frames=3, shift=0.4))]


def posed_images(frames):
    return [PosedImage(frame.name, frame.image, frame.colour_camera) for frame in frames]


def test_project_image_features_skips_occluded_points(frames, maps):
    """The box occludes other parts of the wall in each view; the point cloud is fused from all three."""
    point_clouds = [back_project(frame.depth.double(), frame.depth_camera)[0] for frame in frames]
    points = torch.cat(point_clouds)
    first = frames[0].colour_camera
    projected = project_image_features(points, posed_images(frames[:1]), maps, occlusion_cell=1)
    pixels, _ = project(points, first)
    # on the wall, and behind the box in the first view
    hidden = (points[:, 2] > 1.5) & ((points[:, :2] / points[:, 2:]).abs().amax(1) < 0.17)
    inside = (pixels > 0).all(1) & (pixels < torch.tensor([48.0, 32.0])).all(1)
    assert (hidden & inside).sum() > 50
    assert not projected.views[hidden].any()
    assert not projected.features[hidden].any()
    fused = project_image_features(points, posed_images(frames), maps, occlusion_cell=1)
    later = hidden & (fused.views > 0)
    assert later.sum() > 50
    red = (points[:, 2] < 1.5) & (fused.views > 0)
    # the box is red and the wall is not: the colour of the box is not projected onto the wall behind it
    inner = later & ((points[:, :2] / points[:, 2:]).abs().amax(1) < 0.1)
    assert float(fused.features[red][:, 0].mean()) > 0.8
    assert float(fused.features[inner][:, 2].mean()) > 0.3
    # without occlusion it is
    unoccluded = project_image_features(points, posed_images(frames[:1]), maps, tolerance=10.0, occlusion_cell=1)
    assert unoccluded.views[hidden & inside].all()


def test_project_image_features_averages_over_views(maps):
    camera = Camera(pinhole(20.0, (16, 16)), torch.eye(4, dtype=torch.float64), (16, 16))
    point = torch.tensor([[0.0, 0.0, 2.0], [50.0, 0.0, 2.0]], dtype=torch.float64)
    dark, light = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    projected = project_image_features(point, [PosedImage("a", dark, camera), PosedImage("b", light, camera)], maps)
    assert projected.views.tolist() == [2, 0]
    assert torch.allclose(projected.features, torch.tensor([[0.4] * 3, [0.0] * 3]))


def test_project_image_features_samples_the_points_own_pixel(frames, maps):
    points, pixels = back_project(frames[1].depth.double(), frames[1].depth_camera)
    projected = project_image_features(points, posed_images(frames[1:2]), maps, occlusion_cell=1)
    assert (projected.views == 1).all()
    assert torch.allclose(projected.features, frames[1].image.flatten(1).T[pixels], atol=1e-4)


def test_project_image_features_rejects_invisible_points_and_wrong_sizes(frames, maps):
    far = torch.full((4, 3), 1e4, dtype=torch.float64)
    with pytest.raises(DataError, match="camera-to-world"):
        project_image_features(far, posed_images(frames), maps)
    wrong = PosedImage("b.png", torch.zeros(3, 8, 8), frames[0].colour_camera)
    with pytest.raises(ShapeError, match=r"b\.png"):
        project_image_features(far, [wrong], maps)


def test_scale_camera_keeps_relative_positions():
    camera = Camera(pinhole(20.0, (30, 50)), torch.eye(4, dtype=torch.float64), (30, 50))
    small = scale_camera(camera, 1 / 4)
    assert small.size == (8, 13)
    points = torch.rand(20, 3, dtype=torch.float64) + torch.tensor([-0.5, -0.5, 2.0])
    assert torch.allclose(project(points, small)[0] * 4, project(points, camera)[0])


def test_feature_colours_show_the_main_axis_in_any_order():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=generator) * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.1])
    colours = feature_colours(features)
    order = torch.randperm(200, generator=generator)
    assert torch.allclose(feature_colours(features[order]), colours[order], atol=1e-4)
    assert abs(float(torch.corrcoef(torch.stack([colours[:, 0], features[:, 0]]))[0, 1])) > 0.95
    assert float(colours.min()) >= 0
    assert float(colours.max()) <= 1
    some = features[:, 0] > 0
    assert (feature_colours(features, some)[~some] == 0.5).all()


def test_render_points_shows_the_nearest_point():
    camera = Camera(pinhole(20.0, (8, 8)), torch.eye(4, dtype=torch.float64), (8, 8))
    points = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    image = render_points(points, torch.tensor([[0.0, 1, 0], [1.0, 0, 0]]), camera)
    assert image[:, 4, 4].tolist() == [1.0, 0.0, 0.0]
    assert int((image.sum(0) == 3).sum()) == 63
