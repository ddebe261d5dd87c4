"""Pictures with poses: a folder of pictures, a file or folder of poses, and one camera for all."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.images import find_pictures
from dimlift.data.rgbd.cameras import intrinsics, load_matrix
from dimlift.data.rgbd.frames import sound_pose
from dimlift.data.rgbd.recordings import pose_of, read_trajectory
from dimlift.errors import DamagedFile, DataError


def find_poses(pictures: Path, poses: Path) -> list[tuple[Path, NDArray[np.float64]]]:
    """Each picture of a folder with its camera-to-world pose; pictures without one are left out.

    Args:
        poses: a text file of `NAME x y z qx qy qz qw` (TUM; the name is the picture's, with or without suffix), a
            Redwood `.log` in the order of the pictures, or a folder with NAME.txt or NAME.pose.txt of 4 x 4 numbers.

    Raises:
        DataError: if no picture has a pose.
        DamagedFile: if the poses cannot be read.
    """
    shown = find_pictures(pictures).paths
    if poses.is_dir():
        files = {path: [poses / f"{stem_of(path)}{end}" for end in (".txt", ".pose.txt")] for path in shown}
        read = {
            path: load_matrix(found[0]) for path, names in files.items() if (found := [n for n in names if n.is_file()])
        }
    elif not poses.is_file():
        raise DataError(f"there is no file or folder of poses {poses}; check the path")
    elif poses.suffix == ".log":
        in_order = read_trajectory(poses)
        read = {path: in_order[index] for index, path in enumerate(shown) if index in in_order}
    else:
        named = _named(poses)
        read = {
            path: pose for path in shown for name in (path.name, path.stem) if (pose := named.get(name)) is not None
        }
    if not read:
        raise DataError(f"none of {len(shown)} pictures of {pictures} has a pose in {poses}; poses carry their names")
    return [(path, sound_pose(pose, f"the pose of {path}")) for path, pose in read.items()]


def told_intrinsics(text: str) -> NDArray[np.float64]:
    """From `fx,fy,cx,cy` in pixels (pixel centres at +0.5), or from a file of 3 x 3 numbers.

    Raises:
        DataError: if it is neither.
    """
    path = Path(text)
    if path.is_file():
        return load_matrix(path)[:3, :3]
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError as fault:
        raise DataError(f"{text!r} is no file and not fx,fy,cx,cy in pixels, as in 525,525,320,240") from fault
    return intrinsics(fx, fy, cx, cy)


def stem_of(path: Path) -> str:
    """The name of a picture without its suffixes: frame-000000.color.jpg is frame-000000."""
    return path.name.split(".color.")[0] if ".color." in path.name else path.stem


def _named(path: Path) -> dict[str, NDArray[np.float64]]:
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            values = np.array([float(word) for word in words[1:]])
            found[words[0]] = pose_of(values[:3], values[3:7])
        except (ValueError, IndexError) as fault:
            raise DamagedFile(f"line {number} of {path} is not NAME x y z qx qy qz qw: {line[:60]!r}") from fault
        if len(values) != 7:
            raise DamagedFile(f"line {number} of {path} has {len(values)} numbers behind its name; 7 are wanted")
    return found
