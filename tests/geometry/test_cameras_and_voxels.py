"""Projection, visibility, voxelisation and depth images of point clouds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.errors import ShapeError
from dimlift.geometry.cameras import Camera, back_project, compute_visibility, pinhole, project
from dimlift.geometry.views import AXES, axis_view, camera_view, random_rotations, sample_at
from dimlift.geometry.voxels import voxelise


def camera(seed=0, size=(12, 16)):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64)
    left, _, right = torch.linalg.svd(random_rotations(1, generator)[0].double())
    pose[:3, :3] = left @ right  # orthonormal in float64; the drawn one is so in float32 only
    pose[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    return Camera(pinhole(14.0, size, (7.3, 6.1)), pose, size)


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_back_project_inverts_project(seed):
    cam = camera(seed)
    depth = torch.rand(cam.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    depth[0, 0], depth[1, 1] = 0.0, math.nan
    points, pixels = back_project(depth, cam)
    assert len(points) == depth.numel() - 2
    positions, projected = project(points, cam)
    assert torch.allclose(projected, depth.flatten()[pixels])
    columns, rows = pixels % cam.size[1], pixels // cam.size[1]
    assert torch.allclose(positions, torch.stack([columns + 0.5, rows + 0.5], 1).double(), atol=1e-6)


def test_compute_visibility_excludes_occluded_points():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    wall, pixels = back_project(torch.full((20, 20), 2.0, dtype=torch.float64), cam)
    wall = wall[(pixels % 20) < 10]
    behind = torch.tensor([[-0.5, 0.0, 3.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
    visibility = compute_visibility(torch.cat([wall, behind]), cam)
    visible = set(visibility.points.tolist())
    assert set(range(len(wall))) <= visible
    assert len(wall) not in visible
    assert len(wall) + 1 in visible


def test_compute_visibility_excludes_points_outside_the_frustum():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    points = torch.tensor([[0.0, 0.0, -1.0], [5.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert compute_visibility(points, cam).points.tolist() == [2]


def test_compute_visibility_uses_measured_depth():
    cam = Camera(pinhole(10.0, (20, 20)), torch.eye(4, dtype=torch.float64), (20, 20))
    points = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    near, none = torch.full((20, 20), 1.0), torch.zeros(20, 20)
    assert len(compute_visibility(points, cam, depth=torch.full((20, 20), 2.0)).points) == 1
    assert len(compute_visibility(points, cam, depth=near).points) == 0
    assert len(compute_visibility(points, cam, depth=none).points) == 0


def test_back_project_rejects_wrong_size():
    with pytest.raises(ShapeError, match="resize one"):
        back_project(torch.ones(3, 4), camera())


@given(seed=st.integers(0, 999), size=st.floats(0.05, 2.0))
@settings(max_examples=25, deadline=None)
def test_voxelise_matches_floor(seed, size):
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


def test_voxelise_rejects_nan():
    with pytest.raises(ShapeError, match="NaN"):
        voxelise(torch.tensor([[0.0, math.nan, 0.0]]), 1.0)
    assert len(voxelise(torch.zeros(0, 3), 1.0).coordinates) == 0


@pytest.mark.parametrize("view", range(3))
def test_axis_view_draws_points_at_uv(view):
    points = torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(view))
    found = axis_view(points, view, size=64, splat_size=1)
    assert found.uv.abs().max() < 1
    columns, rows = ((found.uv[..., i] + 1) / 2 * 64 for i in range(2))
    drawn = found.depth[torch.arange(2)[:, None], rows.long(), columns.long()]
    assert (drawn >= 1).all()
    assert int((found.depth > 0).sum()) <= 80
    along = points[..., AXES[view][2]]
    first = along.argmin(1)
    assert torch.allclose(drawn[torch.arange(2), first], torch.ones(2))


def test_axis_view_keeps_the_nearest_point():
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]])
    depth = axis_view(points, 0, size=32, splat_size=3).depth
    assert set(depth.unique().tolist()) == {0.0, 1.0, 2.0}
    assert int((depth == 2.0).sum()) == 9  # the farther of two points on one line is covered completely


def test_camera_view_rotates_points():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1, 60, 3, generator=generator)
    points = points / points.norm(dim=-1).amax()
    rotation = random_rotations(1, generator)
    one = camera_view(points, rotation, size=48)
    other = camera_view(points @ rotation[0].T, torch.eye(3)[None], size=48)
    assert torch.allclose(one.depth, other.depth, atol=1e-5)
    assert one.uv.abs().max() <= 1


def test_random_rotations_are_rotations():
    for kind in ("any", "upright"):
        rotations = random_rotations(50, torch.Generator().manual_seed(1), kind)
        assert torch.allclose(rotations @ rotations.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5)
        assert torch.allclose(torch.linalg.det(rotations), torch.ones(50), atol=1e-5)
    assert torch.allclose(rotations[:, 1], torch.tensor([0.0, 1.0, 0.0]).expand(50, 3), atol=1e-6)


def test_sample_at_pixel_centre_rerotations_the_pixel():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    centre = torch.tensor([[[(2 + 0.5) / 4 * 2 - 1, (1 + 0.5) / 3 * 2 - 1]]])
    assert float(sample_at(maps, centre)) == pytest.approx(6.0)
