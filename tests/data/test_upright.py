"""Points of RGB-D frames are upright, however the cameras were held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.rgbd.upright import mean_up_direction, rotation_to_axis
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.errors import DataError
from small_frames import write_recording

ANGLES = st.floats(-3.1, 3.1)


def turn_world(folder, matrix):
    """Express the poses of a recording in a turned world."""
    for path in folder.glob("*.pose.txt"):
        pose = np.loadtxt(path)
        pose[:3] = matrix @ pose[:3]
        np.savetxt(path, pose)


@given(vector=st.tuples(ANGLES, ANGLES, ANGLES), axis=st.integers(0, 2))
def test_rotation_turns_any_direction_onto_the_axis(vector, axis):
    direction = Rotation.from_rotvec(vector).as_matrix()[:, 0]
    for each in (direction, np.eye(3)[axis], -np.eye(3)[axis]):
        rotation = rotation_to_axis(each, axis)
        np.testing.assert_allclose(rotation @ each, np.eye(3)[axis], atol=1e-9)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_up_is_the_mean_of_cameras_that_look_around_and_down():
    poses = np.stack([np.eye(4)] * 8)
    for number, pose in enumerate(poses):
        level = Rotation.from_euler("y", 45 * number, degrees=True)  # about gravity: y of the world points down
        pose[:3, :3] = (level * Rotation.from_euler("x", -20, degrees=True)).as_matrix()
    np.testing.assert_allclose(mean_up_direction(poses), [0, -1, 0], atol=1e-9)


def test_cameras_turned_about_their_optical_axes_are_refused():
    poses = np.stack([np.eye(4)] * 4)
    for number, pose in enumerate(poses):
        pose[:3, :3] = Rotation.from_euler("z", 90 * number, degrees=True).as_matrix()
    with pytest.raises(DataError, match="do not determine which way is up"):
        mean_up_direction(poses)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("world", [(0, 0, 0), (1.2, -0.4, 2.0)])
def test_heights_do_not_depend_on_the_axes_of_the_recording(tmp_path, axis, world):
    """The cameras are level: the height of a point is minus the y coordinate of its camera."""
    folder = write_recording(tmp_path / "room")
    turn_world(folder, Rotation.from_rotvec(world).as_matrix())
    frames = find_frames(folder)
    plain = PixelPointPairSampler(frames, stride=2, rotate=False, up_axis=axis)
    heights = plain.collate([0], np.random.default_rng(0)).points[:, axis]
    assert heights[:24].min() > 0 > heights[-24:].max()  # rows of 24 pixels: the top of the image is above the camera
    turned = PixelPointPairSampler(frames, stride=2, rotate=True, mirror=True, up_axis=axis, seed=4)
    found = turned.collate([0], np.random.default_rng(3)).points[:, axis]
    ratio = found / heights
    assert float(ratio.std()) < 1e-4  # scaled, but neither turned over nor tilted
    assert 0.8 <= float(ratio.mean()) <= 1.2
