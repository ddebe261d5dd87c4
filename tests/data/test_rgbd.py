"""RGB-D frames: layouts, registration of colour and depth, corrupt frames."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from dimlift.data.rgbd.cameras import translated_pose
from dimlift.data.rgbd.frames import read_frame, readable_frames
from dimlift.data.rgbd.recordings import find_frames, find_recordings, pose_from_quaternion
from dimlift.errors import CorruptFileError, DataError
from dimlift.geometry.cameras import back_project, compute_visibility, z_buffer

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_frames = pytest.mark.skipif(not (SHARED / "sevenscenes").is_dir(), reason="no 7-Scenes frames")


def write_depth(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint16)).save(path)


def write_colour(path, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 128, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Write three registered frames in the layout of 7-Scenes."""
    np.savetxt(tmp_path / "camera-intrinsics.txt", [[7, 0, 4], [0, 7, 3], [0, 0, 1]])
    for number in range(3):
        stem = tmp_path / f"frame-{number:06d}"
        write_colour(stem.with_suffix(".color.png"))
        depth = np.full((6, 8), 1500)
        depth[0, 0], depth[0, 1] = 0, 65535
        write_depth(stem.with_suffix(".depth.png"), depth)
        np.savetxt(stem.with_suffix(".pose.txt"), np.eye(4))
    return tmp_path


def test_read_frame_units_and_invalid_depth(folder):
    frame = read_frame(find_frames(folder)[0])
    assert frame.image.shape == (3, 6, 8)
    assert frame.depth[0, :3].tolist() == [0.0, 0.0, 1.5]
    assert torch.equal(frame.colour_camera.pose, frame.depth_camera.pose)


def break_size(folder):
    write_colour(folder / "frame-000001.color.png", (12, 16))


def break_depth(folder):
    write_depth(folder / "frame-000001.depth.png", np.full((6, 8), 65535))


def break_pose(folder):
    (folder / "frame-000001.pose.txt").unlink()


def lose_tracking(folder):
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), -np.inf))


def stretch(folder):
    np.savetxt(folder / "frame-000001.pose.txt", np.diag([2.0, 1, 1, 1]))


def empty(folder):
    (folder / "frame-000001.depth.png").write_bytes(b"")


def cut(folder):
    path = folder / "frame-000001.color.png"
    path.write_bytes(path.read_bytes()[:40])


def lose_colour(folder):
    (folder / "frame-000001.color.png").unlink()


def shallow(folder):
    Image.fromarray(np.full((6, 8), 9, np.uint8)).save(folder / "frame-000001.depth.png")


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (break_size, "16 x 12 pixels and .* 8 x 6"), (break_depth, "no pixel of .*depth.png has a depth"),
        (break_pose, "pose.txt does not exist"), (lose_tracking, "pose.txt is not 4 x 4 finite"),
        (stretch, "not a rotation"),
        (empty, "depth.png cannot be decoded"), (cut, "color.png cannot be decoded"),
        (lose_colour, "no colour image"), (shallow, "16 bits"),
    ],
)  # fmt: skip
def test_readable_frames_reports_corrupt_frames(folder, corrupt, message):
    corrupt(folder)
    frames = find_frames(folder)
    with pytest.raises(DataError, match=message) as fault:
        readable_frames(frames)
    assert "frame-000001" in str(fault.value)
    assert "--skip-corrupt" in str(fault.value)
    readable, skipped = readable_frames(frames, skip_corrupt=True)
    assert [files.name for files in readable] == ["frame-000000", "frame-000002"]
    assert len(skipped) == 1
    assert "frame-000001" in skipped[0]


def test_read_camera_rig_requires_cameras(folder):
    (folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(DataError, match=r"write .*cameras.json"):
        find_frames(folder)
    camera = {"fx": 7, "fy": 7, "cx": 4, "cy": 3}
    rig = {"depth": camera, "colour": camera, "colour_to_depth": translated_pose(0.5).tolist(), "values_per_metre": 100}
    (folder / "cameras.json").write_text(json.dumps(rig))
    frame = read_frame(find_frames(folder)[0])
    assert float(frame.depth.max()) == 15.0
    assert frame.colour_camera.pose[:3, 3].tolist() == [0.5, 0.0, 0.0]


def test_read_frame_rejects_intrinsics_of_other_size(folder):
    np.savetxt(folder / "camera-intrinsics.txt", [[585, 0, 320], [0, 500, 240], [0, 0, 1]])
    with pytest.raises(DataError, match="images of this size"):
        read_frame(find_frames(folder)[0])


def test_find_frames_rejects_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no RGB-D frame"):
        find_frames(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_frames(tmp_path / "nowhere")


def test_find_recordings_combines_recordings(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("many")
    for name in ("a", "b"):
        shutil.copytree(folder, home / name)
    np.savetxt(home / "b" / "camera-intrinsics.txt", [[9, 0, 4], [0, 9, 3], [0, 0, 1]])
    found = find_recordings(home)
    assert [frame.name for frame in found] == [f"{name}/frame-00000{n}" for name in "ab" for n in range(3)]
    assert [float(read_frame(frame).depth_camera.intrinsics[0, 0]) for frame in found[2:4]] == [7.0, 9.0]
    assert [frame.name for frame in find_recordings(folder)] == [frame.name for frame in find_frames(folder)]
    with pytest.raises(DataError, match="holds no RGB-D frame"):
        find_frames(home)  # recordings have different world frames
    shutil.rmtree(home / "a")
    shutil.rmtree(home / "b")
    with pytest.raises(DataError, match="holds no RGB-D frame"):
        find_recordings(home)


def test_tum_recording_is_matched_by_time(tmp_path):
    camera = {"fx": 7, "fy": 7, "cx": 4, "cy": 3}
    (tmp_path / "cameras.json").write_text(json.dumps({"depth": camera, "colour": None}))
    for time in ("1.000", "2.000", "3.000"):
        write_colour(tmp_path / "rgb" / f"{time}.png")
    write_depth(tmp_path / "depth" / "1.010.png", np.full((6, 8), 5000))
    write_depth(tmp_path / "depth" / "2.005.png", np.full((6, 8), 10000))
    (tmp_path / "groundtruth.txt").write_text("# time x y z and quaternion\n1.001 1 2 3 0 0 0 1\n2.5 0 0 0 0 0 0 1\n")
    readable, skipped = readable_frames(find_frames(tmp_path), skip_corrupt=True)
    assert [files.name for files in readable] == ["1.000"]
    assert "no pose" in skipped[0]
    assert "no depth image" in skipped[1]
    frame = read_frame(readable[0])
    assert float(frame.depth.max()) == 1.0
    assert frame.depth_camera.pose[:3, 3].tolist() == [1.0, 2.0, 3.0]


def test_pose_from_quaternion():
    half = np.sqrt(0.5)
    assert np.allclose(pose_from_quaternion(np.zeros(3), np.array([0, 0, half, half]))[:3, :3] @ [1, 0, 0], [0, 1, 0])


def test_read_trajectory_rejects_truncated_file(tmp_path):
    (tmp_path / "color").mkdir()
    (tmp_path / "depth").mkdir()
    (tmp_path / "cameras.json").write_text(json.dumps({"depth": {"fx": 7, "fy": 7, "cx": 4, "cy": 3}}))
    (tmp_path / "trajectory.log").write_text("0 0 1\n1 0 0 0\n0 1 0 0\n")
    with pytest.raises(CorruptFileError, match=r"trajectory.log"):
        find_frames(tmp_path)


def edge_agreement(image, depth):
    """Return the mean rank of the image gradient at depth discontinuities; 0.5 if unrelated."""
    grey = ndimage.gaussian_filter(image.mean(0).numpy(), 1)
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    rank = gradient.ravel().argsort().argsort().reshape(gradient.shape) / gradient.size
    known = depth > 0
    low = ndimage.minimum_filter(np.where(known, depth, np.inf), 5)
    high = ndimage.maximum_filter(np.where(known, depth, 0), 5)
    jumps = ndimage.minimum_filter(known, 5) & (high - low > 0.08 * np.where(known, depth, 1))
    return rank[jumps].mean()


def in_colour(frame, camera):
    """Return the depth image in the view of `camera`."""
    points, _ = back_project(frame.depth.double(), frame.depth_camera)
    visibility = compute_visibility(points, camera)
    surface = z_buffer(visibility.pixels, visibility.depths, camera.size[0] * camera.size[1]).numpy()
    return np.where(np.isinf(surface), 0, surface).reshape(camera.size)


@needs_frames
def test_sevenscenes_registration():
    scores = []
    for files in find_frames(SHARED / "sevenscenes")[::40]:
        frame = read_frame(files)
        wrong = frame.colour_camera._replace(pose=frame.depth_camera.pose @ torch.from_numpy(translated_pose(-0.02)))
        cameras = (frame.colour_camera, wrong, frame.depth_camera)
        scores.append([edge_agreement(frame.image, in_colour(frame, camera)) for camera in cameras])
    registered, mirrored, given = np.mean(scores, axis=0)
    assert registered > 0.68
    assert registered > mirrored + 0.08
    assert registered > given + 0.12


@needs_frames
def test_sevenscenes_poses_are_consistent():
    frames = [read_frame(files) for files in find_frames(SHARED / "sevenscenes")[10:12]]
    points, _ = back_project(frames[0].depth.double(), frames[0].depth_camera)
    visibility = compute_visibility(points, frames[1].depth_camera)
    measured = frames[1].depth.flatten()[visibility.pixels].double()
    known = measured > 0
    assert float((measured - visibility.depths)[known].abs().median()) < 0.02


@needs_frames
def test_redwood_poses_are_consistent():
    frames = [read_frame(files) for files in find_frames(SHARED / "open3d_rgbd" / "RGBD")]
    assert len(frames) == 5
    points, _ = back_project(frames[0].depth.double(), frames[0].depth_camera)
    visibility = compute_visibility(points, frames[4].depth_camera)
    measured = frames[4].depth.flatten()[visibility.pixels].double()
    assert float((measured - visibility.depths)[measured > 0].abs().median()) < 0.03
