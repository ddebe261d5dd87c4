"""`dimlift project-features`."""

import json

import numpy as np
import pytest
from command_line import run_cli, run_rejected
from PIL import Image

from dimlift.data.io.point_cloud import read_point_cloud
from dimlift.data.io.point_cloud_writer import write_ply
from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.geometry.cameras import back_project
from small_frames import FOCAL, SIZE, write_recording

COMMAND = "project-features"
NETWORK = ("--network", "timm:test_resnet", "--occlusion-cell", "1")
CAMERA = f"{FOCAL},{FOCAL},{SIZE[1] / 2},{SIZE[0] / 2}"


@pytest.fixture
def room(tmp_path):
    folder = write_recording(tmp_path / "room")
    frame = read_frame(find_frames(folder)[1])
    points, pixels = back_project(frame.depth.double(), frame.depth_camera)
    write_ply(tmp_path / "scan.ply", points.numpy(), frame.image.flatten(1).T[pixels].numpy())
    return folder


def test_project_features_of_a_recording_writes_all_files(room, tmp_path):
    scan, out = tmp_path / "scan.ply", tmp_path / "made" / "projected.npz"
    result = run_cli(COMMAND, scan, "--frames", room, "--out", out, *NETWORK)
    assert result.code == 0, result.err
    assert f"{SIZE[0] * SIZE[1]} points" in " ".join(result.out.split())
    projected = read_point_cloud(out)
    assert projected.extra["features"].shape[0] == SIZE[0] * SIZE[1] == len(projected.points)
    assert projected.extra["views"].max() == 3
    preview = read_point_cloud(out.with_suffix(".ply"))
    assert np.allclose(preview.points, projected.points, atol=1e-4)
    assert preview.colours.std(0).min() > 0.01
    assert Image.open(out.with_suffix(".png")).size == (2 * SIZE[1], SIZE[0])
    assert json.loads(out.with_suffix(".json").read_text())["views"] == 3


def test_project_features_of_posed_images_matches_the_recording(room, tmp_path):
    images = tmp_path / "rgb"
    images.mkdir()
    lines = []
    for number, path in enumerate(sorted(room.glob("*.color.png"))):
        (images / f"{number}.png").write_bytes(path.read_bytes())
        lines.append(f"{number}.png {0.05 * number} 0 0 0 0 0 1")
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    scan, one, other = tmp_path / "scan.ply", tmp_path / "one.npz", tmp_path / "other.npz"
    arguments = (COMMAND, scan, "--images", images, "--poses", tmp_path / "poses.txt", "--intrinsics", CAMERA)
    assert run_cli(*arguments, "--out", one, *NETWORK).code == 0
    assert run_cli(COMMAND, scan, "--frames", room, "--out", other, *NETWORK).code == 0
    assert np.array_equal(np.load(one)["views"], np.load(other)["views"])


def test_project_features_rejects_inconsistent_files(room, tmp_path):
    scan, out = tmp_path / "scan.ply", tmp_path / "projected.npz"
    assert "--images, --poses and --intrinsics" in run_rejected(COMMAND, scan, "--out", out)
    assert "must end in .npz" in run_rejected(COMMAND, scan, "--frames", room, "--out", tmp_path / "projected.ply")
    assert "fx,fy,cx,cy" in run_rejected(
        COMMAND, scan, "--images", room, "--poses", room, "--intrinsics", "wide", "--out", out
    )
    np.save(tmp_path / "far.npy", np.full((5, 3), 1e5))
    assert "camera-to-world" in run_rejected(COMMAND, tmp_path / "far.npy", "--frames", room, "--out", out, *NETWORK)
    (room / "frame-000001.depth.png").write_bytes(b"")
    assert "--skip-corrupt" in run_rejected(COMMAND, scan, "--frames", room, "--out", out, *NETWORK)
    assert not out.exists()
    assert run_cli(COMMAND, scan, "--frames", room, "--out", out, *NETWORK, "--skip-corrupt").code == 0
    assert len(json.loads(out.with_suffix(".json").read_text())["left_out"]) == 1
