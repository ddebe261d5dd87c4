"""`dimlift paint`: files in, files out, and what is said when they do not fit."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ask, refused
from PIL import Image

from dimlift.data.io.point_cloud import read_cloud
from dimlift.data.io.point_cloud_writer import write_ply
from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.geometry.cameras import back_project

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_frames import FOCAL, SIZE, write_recording

NET = ("--net", "timm:test_resnet", "--cell", "1")
CAMERA = f"{FOCAL},{FOCAL},{SIZE[1] / 2},{SIZE[0] / 2}"


@pytest.fixture
def room(tmp_path):
    folder = write_recording(tmp_path / "room")
    frame = read_frame(find_frames(folder)[1])
    points, pixels = back_project(frame.depth.double(), frame.depth_camera)
    write_ply(tmp_path / "scan.ply", points.numpy(), frame.picture.flatten(1).T[pixels].numpy())
    return folder


def test_a_recording_paints_a_scan(room, tmp_path):
    scan, out = tmp_path / "scan.ply", tmp_path / "made" / "painted.npz"
    answer = ask("paint", scan, "--frames", room, "--out", out, *NET)
    assert answer.code == 0, answer.err
    assert f"{SIZE[0] * SIZE[1]} points" in " ".join(answer.out.split())
    painted = read_cloud(out)
    assert painted.extra["features"].shape[0] == SIZE[0] * SIZE[1] == len(painted.points)
    assert painted.extra["views"].max() == 3
    coloured = read_cloud(out.with_suffix(".ply"))
    assert np.allclose(coloured.points, painted.points, atol=1e-4)
    assert coloured.colours.std(0).min() > 0.01
    assert Image.open(out.with_suffix(".png")).size == (2 * SIZE[1], SIZE[0])
    assert json.loads(out.with_suffix(".json").read_text())["views"] == 3


def test_pictures_with_poses_are_as_good_as_a_recording(room, tmp_path):
    images = tmp_path / "rgb"
    images.mkdir()
    lines = []
    for number, path in enumerate(sorted(room.glob("*.color.png"))):
        (images / f"{number}.png").write_bytes(path.read_bytes())
        lines.append(f"{number}.png {0.05 * number} 0 0 0 0 0 1")
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    scan, one, other = tmp_path / "scan.ply", tmp_path / "one.npz", tmp_path / "other.npz"
    asked = ("paint", scan, "--images", images, "--poses", tmp_path / "poses.txt", "--intrinsics", CAMERA)
    assert ask(*asked, "--out", one, *NET).code == 0
    assert ask("paint", scan, "--frames", room, "--out", other, *NET).code == 0
    assert np.array_equal(np.load(one)["views"], np.load(other)["views"])


def test_what_does_not_fit_is_told_and_nothing_is_left_half_written(room, tmp_path):
    scan, out = tmp_path / "scan.ply", tmp_path / "painted.npz"
    assert "--images, --poses and --intrinsics" in refused("paint", scan, "--out", out)
    assert "must end in .npz" in refused("paint", scan, "--frames", room, "--out", tmp_path / "painted.ply")
    assert "fx,fy,cx,cy" in refused(
        "paint", scan, "--images", room, "--poses", room, "--intrinsics", "wide", "--out", out
    )
    np.save(tmp_path / "far.npy", np.full((5, 3), 1e5))
    assert "camera-to-world" in refused("paint", tmp_path / "far.npy", "--frames", room, "--out", out, *NET)
    (room / "frame-000001.depth.png").write_bytes(b"")
    assert "--skip-bad" in refused("paint", scan, "--frames", room, "--out", out, *NET)
    assert not out.exists()
    assert ask("paint", scan, "--frames", room, "--out", out, *NET, "--skip-bad").code == 0
    assert len(json.loads(out.with_suffix(".json").read_text())["left_out"]) == 1
