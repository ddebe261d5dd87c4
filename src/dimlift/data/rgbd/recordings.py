"""Where the frames of an RGB-D recording lie: 7-Scenes, ScanNet, Redwood (Open3D) and TUM folders."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.rgbd.cameras import Rig, load_matrix, rig_of
from dimlift.errors import DamagedFile, DataError

PICTURES = (".jpg", ".jpeg", ".png", ".ppm")
DEPTHS = (".png", ".pgm")
LATEST = 0.02
"""Seconds by which the times of a TUM colour image, its depth and its pose may differ."""


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """The files of one frame; whether they can be used is found out by reading them (`data.rgbd.read_frame`).

    Attributes:
        name: of the frame, for messages.
        colour, depth: images; they may be missing.
        pose: camera-to-world of the depth camera, or the file that holds it; None where there is none.
        rig: the cameras.
    """

    name: str
    colour: Path
    depth: Path
    pose: Path | NDArray[np.float64] | None
    rig: Rig


def find_recordings(folder: Path | str) -> list[FrameFiles]:
    """All frames of a recording, or of every recording in a folder of them, each with cameras of its own.

    Raises:
        DataError: as `find_frames` does; or if no folder in it is a recording either.
    """
    folder = Path(folder)
    if not folder.is_dir() or any(fits(folder) for fits, _ in LAYOUTS):
        return find_frames(folder)
    homes = [home for home in sorted(folder.iterdir()) if home.is_dir() and any(fits(home) for fits, _ in LAYOUTS)]
    if not homes:
        return find_frames(folder)
    return [replace(frame, name=f"{home.name}/{frame.name}") for home in homes for frame in find_frames(home)]


def find_frames(folder: Path | str) -> list[FrameFiles]:
    """All frames of one recording, in their order.

    Raises:
        DataError: if it is laid out in no known way, holds no frame or does not say what its cameras are.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder of frames {folder}; check the path")
    for fits, find in LAYOUTS:
        if fits(folder):
            frames = find(folder)
            if frames:
                return frames
    raise DataError(
        f"{folder} holds no RGB-D frame; wanted are frame-*.color.*, .depth.png and .pose.txt (7-Scenes); color/, "
        "depth/ and pose/ (ScanNet); color/, depth/ and trajectory.log (Redwood); or rgb/, depth/ and groundtruth.txt "
        "(TUM)"
    )


def _sevenscenes(folder: Path) -> list[FrameFiles]:
    names = sorted({path.name.split(".")[0] for path in folder.glob("frame-*.*") if path.name.count(".") == 2})
    rig = rig_of(folder, depth_files=("camera-intrinsics.txt",), values_per_metre=1000)
    frames = []
    for name in names:
        colours = [path for path in folder.glob(f"{name}.color.*") if path.suffix in PICTURES]
        colour = colours[0] if colours else folder / f"{name}.color.jpg"
        frames.append(FrameFiles(name, colour, folder / f"{name}.depth.png", folder / f"{name}.pose.txt", rig))
    return frames


def _scannet(folder: Path) -> list[FrameFiles]:
    rig = rig_of(
        folder,
        depth_files=("intrinsic/intrinsic_depth.txt", "intrinsics.txt"),
        colour_files=("intrinsic/intrinsic_color.txt",),
        values_per_metre=1000,
    )
    colours, depths = _images(folder / "color", PICTURES), _images(folder / "depth", DEPTHS)
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


def _redwood(folder: Path) -> list[FrameFiles]:
    rig = rig_of(folder, values_per_metre=1000)
    poses = read_trajectory(folder / "trajectory.log")
    colours, depths = _images(folder / "color", PICTURES), _images(folder / "depth", DEPTHS)
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


def _tum(folder: Path) -> list[FrameFiles]:
    """Images named by their time in seconds; poses are the nearest in time."""
    rig = rig_of(folder, values_per_metre=5000)
    poses = load_matrix(folder / "groundtruth.txt", columns=8)
    colours, depths = _images(folder / "rgb", PICTURES), _images(folder / "depth", DEPTHS)
    try:
        times = np.array([float(name) for name in depths])
        shown = sorted((float(name), path) for name, path in colours.items())
    except ValueError as fault:
        raise DataError(f"{folder}: images of a TUM recording are named by their time in seconds ({fault})") from fault
    frames = []
    for time, colour in shown:
        near = int(np.abs(times - time).argmin()) if len(times) else -1
        has_depth = near >= 0 and abs(times[near] - time) <= LATEST
        depth = list(depths.values())[near] if has_depth else folder / "depth" / f"{colour.stem}.png"
        row = int(np.abs(poses[:, 0] - time).argmin())
        pose = pose_of(poses[row, 1:4], poses[row, 4:]) if abs(poses[row, 0] - time) <= LATEST else None
        frames.append(FrameFiles(colour.stem, colour, depth, pose, rig))
    return frames


def read_trajectory(path: Path) -> dict[int, NDArray[np.float64]]:
    """Camera-to-world of each frame from a Redwood `.log`: a line of three numbers, then four rows of four.

    Raises:
        DamagedFile: if it is cut short or holds something else.
    """
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text(encoding="ascii").splitlines()]
        rows = [row for row in rows if row]
        found = {int(rows[at][0]): np.array(rows[at + 1 : at + 5]) for at in range(0, len(rows), 5)}
    except (OSError, ValueError, IndexError) as fault:
        raise DamagedFile(f"{path} cannot be read as a trajectory ({fault}); copy it again") from fault
    if any(pose.shape != (4, 4) for pose in found.values()):
        raise DamagedFile(f"{path} ends within a pose, or a row of one has not four numbers; copy it again")
    return found


def pose_of(place: NDArray[np.float64], quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) of a place and a quaternion (x, y, z, w), which is made one of length one."""
    x, y, z, w = quaternion / max(float(np.linalg.norm(quaternion)), 1e-12)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = place
    return pose


def _images(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).exists() for name in names)


LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], list[FrameFiles]]], ...] = (
    (lambda folder: any(folder.glob("frame-*.*.*")), _sevenscenes),
    (_has("color", "depth", "pose"), _scannet),
    (_has("color", "depth", "trajectory.log"), _redwood),
    (_has("rgb", "depth", "groundtruth.txt"), _tum),
)
