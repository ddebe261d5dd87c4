"""There and back: points to pixels, points to voxels, clouds to pictures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.errors import ShapeError
from dimlift.geometry.cameras import Camera, back_project, pinhole, project, visible
from dimlift.geometry.views import AXES, axis_view, camera_view, random_rotations, read_at
from dimlift.geometry.voxels import voxelise


def camera(seed=0, size=(12, 16)):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = random_rotations(1, generator)[0].double()
    pose[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    return Camera(pinhole(14.0, size, (7.3, 6.1)), pose, size)


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_a_depth_image_comes_back_pixel_by_pixel(seed):
    cam = camera(seed)
    depth = torch.rand(cam.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    depth[0, 0], depth[1, 1] = 0.0, math.nan
    points, pixels = back_project(depth, cam)
    assert len(points) == depth.numel() - 2
    places, again = project(points, cam)
    assert torch.allclose(again, depth.flatten()[pixels])
    columns, rows = pixels % cam.size[1], pixels // cam.size[1]
    assert torch.allclose(places, torch.stack([columns + 0.5, rows + 0.5], 1).double(), atol=1e-6)


def test_a_wall_hides_what_is_behind_it_and_nothing_beside():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    wall, pixels = back_project(torch.full((20, 20), 2.0, dtype=torch.float64), cam)
    wall = wall[(pixels % 20) < 10]
    behind = torch.tensor([[-0.5, 0.0, 3.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
    sight = visible(torch.cat([wall, behind]), cam)
    seen = set(sight.points.tolist())
    assert set(range(len(wall))) <= seen
    assert len(wall) not in seen
    assert len(wall) + 1 in seen


def test_what_lies_behind_the_camera_or_outside_the_image_is_not_seen():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    points = torch.tensor([[0.0, 0.0, -1.0], [5.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert visible(points, cam).points.tolist() == [2]


def test_a_measured_depth_decides_where_it_is_known():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    points = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    near, none = torch.full((20, 20), 1.0), torch.zeros(20, 20)
    assert len(visible(points, cam, depth=torch.full((20, 20), 2.0)).points) == 1
    assert len(visible(points, cam, depth=near).points) == 0
    assert len(visible(points, cam, depth=none).points) == 0


def test_a_depth_image_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="scale one"):
        back_project(torch.ones(3, 4), camera())


@given(seed=st.integers(0, 999), size=st.floats(0.05, 2.0))
@settings(max_examples=25, deadline=None)
def test_every_point_lies_in_its_voxel_and_every_voxel_has_its_points(seed, size):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(50, 3, generator=generator, dtype=torch.float64) * 3
    batch = torch.randint(0, 3, (50,), generator=generator)
    found = voxelise(points, size, batch)
    rows = found.coordinates[found.inverse]
    assert torch.equal(rows[:, 0], batch)
    assert torch.equal(rows[:, 1:], torch.floor(points / size).long())
    assert len({tuple(row) for row in found.coordinates.tolist()}) == len(found.coordinates)
    assert torch.equal(found.counts, torch.bincount(found.inverse))
    assert found.coordinates.tolist() == sorted(found.coordinates.tolist())
    means = found.mean(points)
    assert torch.allclose(means[0], points[found.inverse == 0].mean(0))


def test_points_that_are_nowhere_are_refused():
    with pytest.raises(ShapeError, match="NaN"):
        voxelise(torch.tensor([[0.0, math.nan, 0.0]]), 1.0)
    assert len(voxelise(torch.zeros(0, 3), 1.0).coordinates) == 0


@pytest.mark.parametrize("view", range(3))
def test_an_axis_view_shows_every_point_where_it_says(view):
    points = torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(view))
    found = axis_view(points, view, size=64, stamp=1)
    assert found.places.abs().max() < 1
    columns, rows = ((found.places[..., i] + 1) / 2 * 64 for i in range(2))
    drawn = found.depth[torch.arange(2)[:, None], rows.long(), columns.long()]
    assert (drawn >= 1).all()
    assert int((found.depth > 0).sum()) <= 80
    along = points[..., AXES[view][2]]
    first = along.argmin(1)
    assert torch.allclose(drawn[torch.arange(2), first], torch.ones(2))


def test_the_nearer_point_hides_the_farther():
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]])
    depth = axis_view(points, 0, size=32, stamp=3).depth
    assert set(depth.unique().tolist()) == {0.0, 1.0, 2.0}
    assert int((depth == 2.0).sum()) == 9  # of the two in one line, the farther is covered whole


def test_a_turned_cloud_is_the_same_picture_as_a_turned_camera():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1, 60, 3, generator=generator)
    points = points / points.norm(dim=-1).amax()
    turn = random_rotations(1, generator)
    one = camera_view(points, turn, size=48)
    other = camera_view(points @ turn[0].T, torch.eye(3)[None], size=48)
    assert torch.allclose(one.depth, other.depth, atol=1e-5)
    assert one.places.abs().max() <= 1


def test_rotations_turn_and_do_nothing_else():
    for kind in ("any", "upright"):
        turns = random_rotations(50, torch.Generator().manual_seed(1), kind)
        assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5)
        assert torch.allclose(torch.linalg.det(turns), torch.ones(50), atol=1e-5)
    assert torch.allclose(turns[:, 1], torch.tensor([0.0, 1.0, 0.0]).expand(50, 3), atol=1e-6)


def test_reading_a_map_at_a_pixel_centre_gives_that_pixel():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    centre = torch.tensor([[[(2 + 0.5) / 4 * 2 - 1, (1 + 0.5) / 3 * 2 - 1]]])
    assert float(read_at(maps, centre)) == pytest.approx(6.0)
