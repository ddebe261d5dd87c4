"""Sampling of RGB-D frames and of pairs of points and pixels."""

import pytest
import torch

from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler, visible_points
from dimlift.geometry.cameras import Camera
from dimlift.methods.teachers.feature_maps import sample_pairs
from small_frames import write_recording


@pytest.fixture
def frames(tmp_path):
    return find_frames(write_recording(tmp_path / "room"))


@pytest.fixture
def sampler(frames):
    return PixelPointPairSampler(frames, stride=2, num_pairs=40, seed=1)


def test_pair_sampler_limits_the_number_of_pairs(frames):
    few = PixelPointPairSampler(frames, stride=2, num_pairs=40).batch(0, 1)
    assert len(few.pair_points) == 40
    assert len(few.pair_points.unique()) == 40
    many = PixelPointPairSampler(frames, stride=8, num_pairs=4096).batch(0, 1)
    assert 2 <= len(many.pair_points) == 24  # every eighth row and column of 32 x 48


def test_pair_sampler_batch_depends_on_seed_and_step(sampler):
    one, other = sampler.batch(3, 2), sampler.batch(3, 2)
    assert all(torch.equal(a, b) for a, b in zip(one[:6], other[:6], strict=True))
    assert not torch.equal(one.points, sampler.batch(4, 2).points)


def test_visible_points_excludes_occluded_points(tmp_path):
    """The colour camera is 30 cm to the right: the box occludes wall that the depth camera measures."""
    frame = read_frame(find_frames(write_recording(tmp_path / "room", frames=1))[0])
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = 0.3
    shifted = Camera(frame.colour_camera.intrinsics, pose, frame.colour_camera.size)
    visible = visible_points(type(frame)(frame.name, frame.image, frame.depth, shifted, frame.depth_camera))
    shown = torch.zeros(len(visible.points), dtype=torch.bool)
    shown[visible.visible] = True
    x, y, z = visible.points.unbind(1)
    # the line from (0.3, 0, 0) to a wall point passes the box at 1 m
    at_box = 0.3 + (x - 0.3) / 2
    hidden = (z > 1.5) & (at_box.abs() < 0.15) & ((y / 2).abs() < 0.15)
    assert hidden.sum() > 20
    assert not shown[hidden].any()
    unobstructed = (z > 1.5) & (at_box > 0.25) & (at_box < 0.5) & (y.abs() < 0.3)
    assert shown[unobstructed].all()


@pytest.mark.parametrize("mirror", [False, True])
def test_pair_sampler_pairs_points_with_pixels_of_their_colour(sampler, mirror):
    sampler.mirror = mirror
    batch = sampler.batch(5, 2)
    colours = sample_pairs(batch.image, batch.pair_uv, batch.frame[batch.pair_points])
    assert torch.allclose(colours, batch.colours[batch.pair_points], atol=0.02)
