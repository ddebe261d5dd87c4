"""Posed images: a folder of images, a file or folder of poses, and one camera for all."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.images import find_images
from dimlift.data.rgbd.cameras import intrinsic_matrix, load_matrix
from dimlift.data.rgbd.frames import require_pose
from dimlift.data.rgbd.recordings import pose_from_quaternion, read_trajectory
from dimlift.errors import CorruptFileError, DataError


def match_poses(images: Path, poses: Path) -> list[tuple[Path, NDArray[np.float64]]]:
    """Return each image of a folder with its camera-to-world pose; images without a pose are left out.

    Args:
        images: folder of images.
        poses: a text file of `NAME x y z qx qy qz qw` (TUM; the image name, with or without suffix), a Redwood `.log`
            in the order of the images, or a folder with NAME.txt or NAME.pose.txt of 4 x 4 numbers.

    Raises:
        DataError: if no image has a pose.
        CorruptFileError: if the poses cannot be read.
    """
    paths = find_images(images).paths
    if poses.is_dir():
        candidates = {path: [poses / f"{frame_stem(path)}{end}" for end in (".txt", ".pose.txt")] for path in paths}
        matched = {
            path: load_matrix(files[0])
            for path, names in candidates.items()
            if (files := [name for name in names if name.is_file()])
        }
    elif not poses.is_file():
        raise DataError(f"the file or folder of poses {poses} does not exist; check the path")
    elif poses.suffix == ".log":
        in_order = read_trajectory(poses)
        matched = {path: in_order[index] for index, path in enumerate(paths) if index in in_order}
    else:
        by_name = _read_tum_poses(poses)
        matched = {
            path: pose for path in paths for name in (path.name, path.stem) if (pose := by_name.get(name)) is not None
        }
    if not matched:
        raise DataError(f"none of {len(paths)} images of {images} has a pose in {poses}; poses need the image names")
    return [(path, require_pose(pose, f"the pose of {path}")) for path, pose in matched.items()]


def parse_intrinsics(text: str) -> NDArray[np.float64]:
    """Return intrinsics from `fx,fy,cx,cy` in pixels (pixel centres at +0.5), or from a file of 3 x 3 numbers.

    Raises:
        DataError: if it is neither.
    """
    path = Path(text)
    if path.is_file():
        return load_matrix(path)[:3, :3]
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError as fault:
        raise DataError(f"{text!r} is neither a file nor fx,fy,cx,cy in pixels, such as 525,525,320,240") from fault
    return intrinsic_matrix(fx, fy, cx, cy)


def frame_stem(path: Path) -> str:
    """Return the name of an image without its suffixes: frame-000000.color.jpg becomes frame-000000."""
    return path.name.split(".color.")[0] if ".color." in path.name else path.stem


def _read_tum_poses(path: Path) -> dict[str, NDArray[np.float64]]:
    poses = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            values = np.array([float(word) for word in words[1:]])
            poses[words[0]] = pose_from_quaternion(values[:3], values[3:7])
        except (ValueError, IndexError) as fault:
            raise CorruptFileError(f"line {number} of {path} is not NAME x y z qx qy qz qw: {line[:60]!r}") from fault
        if len(values) != 7:
            raise CorruptFileError(f"line {number} of {path} has {len(values)} numbers after the name; 7 are expected")
    return poses
