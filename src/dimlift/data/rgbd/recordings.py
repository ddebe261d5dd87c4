"""Layouts of RGB-D recordings: 7-Scenes, ScanNet, Redwood (Open3D) and TUM folders."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dimlift.data.rgbd.cameras import CameraRig, load_matrix, read_camera_rig
from dimlift.errors import CorruptFileError, DataError

COLOUR_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm")
DEPTH_SUFFIXES = (".png", ".pgm")
MAX_TIME_OFFSET = 0.02
"""Largest difference in seconds between a TUM colour image, its depth image and its pose."""


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """The files of one frame; they are validated by `rgbd.frames.read_frame`.

    Attributes:
        name: for messages.
        colour, depth: images; they may be missing.
        pose: camera-to-world of the depth camera, or its file; None if missing.
        rig: the cameras.
    """

    name: str
    colour: Path
    depth: Path
    pose: Path | NDArray[np.float64] | None
    rig: CameraRig


def find_recordings(folder: Path | str) -> list[FrameFiles]:
    """List all frames of a recording, or of every recording in a folder, each with its own cameras.

    Raises:
        DataError: as `find_frames`; or if no subfolder is a recording either.
    """
    folder = Path(folder)
    if not folder.is_dir() or _is_recording(folder):
        return find_frames(folder)
    recordings = [
        subfolder for subfolder in sorted(folder.iterdir()) if subfolder.is_dir() and _is_recording(subfolder)
    ]
    if not recordings:
        return find_frames(folder)
    return [replace(frame, name=f"{part.name}/{frame.name}") for part in recordings for frame in find_frames(part)]


def find_frames(folder: Path | str) -> list[FrameFiles]:
    """List all frames of one recording in their order.

    Raises:
        DataError: if the layout is unknown, or the folder holds no frame or no cameras.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"the folder of frames {folder} does not exist; check the path")
    for matches, find in RECORDING_LAYOUTS:
        if matches(folder):
            frames = find(folder)
            if frames:
                return frames
    raise DataError(
        f"{folder} holds no RGB-D frame; expected: frame-*.color.*, .depth.png and .pose.txt (7-Scenes); color/, "
        "depth/ and pose/ (ScanNet); color/, depth/ and trajectory.log (Redwood); or rgb/, depth/ and groundtruth.txt "
        "(TUM)"
    )


def _is_recording(folder: Path) -> bool:
    return any(matches(folder) for matches, _ in RECORDING_LAYOUTS)


def _find_sevenscenes(folder: Path) -> list[FrameFiles]:
    names = sorted({path.name.split(".")[0] for path in folder.glob("frame-*.*") if path.name.count(".") == 2})
    rig = read_camera_rig(folder, depth_files=("camera-intrinsics.txt",), values_per_metre=1000)
    frames = []
    for name in names:
        colours = [path for path in folder.glob(f"{name}.color.*") if path.suffix in COLOUR_SUFFIXES]
        colour = colours[0] if colours else folder / f"{name}.color.jpg"
        frames.append(FrameFiles(name, colour, folder / f"{name}.depth.png", folder / f"{name}.pose.txt", rig))
    return frames


def _find_scannet(folder: Path) -> list[FrameFiles]:
    rig = read_camera_rig(
        folder,
        depth_files=("intrinsic/intrinsic_depth.txt", "intrinsics.txt"),
        colour_files=("intrinsic/intrinsic_color.txt",),
        values_per_metre=1000,
    )
    colours, depths = (
        _files_by_stem(folder / "color", COLOUR_SUFFIXES),
        _files_by_stem(folder / "depth", DEPTH_SUFFIXES),
    )
    names = sorted(colours.keys() | depths.keys(), key=lambda name: (len(name), name))
    return [
        FrameFiles(
            name,
            colours.get(name, folder / "color" / f"{name}.jpg"),
            depths.get(name, folder / "depth" / f"{name}.png"),
            folder / "pose" / f"{name}.txt",
            rig,
        )
        for name in names
    ]


def _find_redwood(folder: Path) -> list[FrameFiles]:
    rig = read_camera_rig(folder, values_per_metre=1000)
    poses = read_trajectory(folder / "trajectory.log")
    colours, depths = (
        _files_by_stem(folder / "color", COLOUR_SUFFIXES),
        _files_by_stem(folder / "depth", DEPTH_SUFFIXES),
    )
    names = sorted(colours.keys() | depths.keys())
    return [
        FrameFiles(
            name,
            colours.get(name, folder / "color" / f"{name}.jpg"),
            depths.get(name, folder / "depth" / f"{name}.png"),
            poses.get(index),
            rig,
        )
        for index, name in enumerate(names)
    ]


def _find_tum(folder: Path) -> list[FrameFiles]:
    """List frames of images that are named by their time in seconds, with the depth and pose nearest in time."""
    rig = read_camera_rig(folder, values_per_metre=5000)
    poses = load_matrix(folder / "groundtruth.txt", columns=8)
    colours, depths = _files_by_stem(folder / "rgb", COLOUR_SUFFIXES), _files_by_stem(folder / "depth", DEPTH_SUFFIXES)
    try:
        depth_times = np.array([float(name) for name in depths])
        timed_colours = sorted((float(name), path) for name, path in colours.items())
    except ValueError as fault:
        raise DataError(
            f"{folder}: images of a TUM recording must be named by their time in seconds ({fault})"
        ) from fault
    frames = []
    for time, colour in timed_colours:
        nearest = int(np.abs(depth_times - time).argmin()) if len(depth_times) else -1
        has_depth = nearest >= 0 and abs(depth_times[nearest] - time) <= MAX_TIME_OFFSET
        depth = list(depths.values())[nearest] if has_depth else folder / "depth" / f"{colour.stem}.png"
        row = poses[int(np.abs(poses[:, 0] - time).argmin())]
        pose = pose_from_quaternion(row[1:4], row[4:]) if abs(row[0] - time) <= MAX_TIME_OFFSET else None
        frames.append(FrameFiles(colour.stem, colour, depth, pose, rig))
    return frames


def read_trajectory(path: Path) -> dict[int, NDArray[np.float64]]:
    """Read camera-to-world poses by frame number from a Redwood `.log`: three numbers, then four rows of four each.

    Raises:
        CorruptFileError: if the file is truncated or of another format.
    """
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text(encoding="ascii").splitlines()]
        rows = [row for row in rows if row]
        poses = {int(rows[i][0]): np.array(rows[i + 1 : i + 5]) for i in range(0, len(rows), 5)}
    except (OSError, ValueError, IndexError) as fault:
        raise CorruptFileError(f"{path} cannot be read as a trajectory ({fault}); copy it again") from fault
    if any(pose.shape != (4, 4) for pose in poses.values()):
        raise CorruptFileError(f"{path} has a pose that is not four rows of four numbers; copy it again")
    return poses


def pose_from_quaternion(position: NDArray[np.float64], quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (4, 4) pose of a position and a quaternion (x, y, z, w), which is normalised.

    Raises:
        CorruptFileError: if the quaternion is not four numbers with a norm above zero.
    """
    pose = np.eye(4)
    try:
        pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    except ValueError as fault:
        raise CorruptFileError(f"{quaternion} is not a quaternion ({fault}); copy the poses again") from fault
    pose[:3, 3] = position
    return pose


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).exists() for name in names)


RECORDING_LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], list[FrameFiles]]], ...] = (
    (lambda folder: any(folder.glob("frame-*.*.*")), _find_sevenscenes),
    (_has("color", "depth", "pose"), _find_scannet),
    (_has("color", "depth", "trajectory.log"), _find_redwood),
    (_has("rgb", "depth", "groundtruth.txt"), _find_tum),
)
"""Test and reader of each layout, in the order in which they are tried."""
