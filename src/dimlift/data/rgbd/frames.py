"""RGB-D frames: a colour image, a depth image, and the camera of each. Lengths in metres."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dimlift.data.io.image_file import decode_image, read_rgb
from dimlift.data.rgbd.cameras import load_matrix
from dimlift.data.rgbd.recordings import FrameFiles
from dimlift.errors import DataError
from dimlift.geometry.cameras import Camera

INVALID_DEPTHS = (0, 65535)
"""Values of a depth image for pixels without measurement."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One RGB-D frame.

    Attributes:
        name: for messages.
        image: (3, H, W), RGB from 0 to 1.
        depth: (h, w) along the optical axis of the depth camera; 0 without measurement.
        colour_camera: camera of the image.
        depth_camera: camera of the depth image.
    """

    name: str
    image: Float[Tensor, "3 height width"]
    depth: Float[Tensor, "h w"]
    colour_camera: Camera
    depth_camera: Camera


def read_frame(files: FrameFiles) -> Frame:
    """Read one frame.

    Raises:
        DataError: if a file is missing, depth and colour do not match, or no depth was measured.
        CorruptFileError: if a file is truncated or of another format than its name states.
    """
    for kind, path in (("colour", files.colour), ("depth", files.depth)):
        if not path.is_file():
            raise DataError(f"frame {files.name} has no {kind} image {path}; copy it there, or remove the frame")
    pose = read_pose(files)
    depth = _read_depth(files.depth, files.rig.values_per_metre)
    image = torch.from_numpy(np.array(read_rgb(files.colour))).permute(2, 0, 1).float() / 255
    size = (image.shape[1], image.shape[2])
    if files.rig.colour is None and size != depth.shape:
        raise DataError(
            f"{files.colour} has {size[1]} x {size[0]} pixels and {files.depth} {depth.shape[1]} x {depth.shape[0]}, "
            "but there is one camera for both; resize one, or write the colour camera into cameras.json"
        )
    colour = files.rig.depth if files.rig.colour is None else files.rig.colour
    for path, camera, (height, width) in ((files.depth, files.rig.depth, depth.shape), (files.colour, colour, size)):
        if not (0 < camera[0, 2] < width and 0 < camera[1, 2] < height):
            raise DataError(
                f"{path} has {width} x {height} pixels, but the principal point of its camera is ({camera[0, 2]:g}, "
                f"{camera[1, 2]:g}); use the intrinsics of images of this size"
            )
    return Frame(
        files.name,
        image,
        torch.from_numpy(depth),
        Camera(torch.from_numpy(colour), torch.from_numpy(pose @ files.rig.colour_to_depth), size),
        Camera(torch.from_numpy(files.rig.depth), torch.from_numpy(pose), depth.shape),
    )


def readable_frames(frames: Sequence[FrameFiles], skip_corrupt: bool = False) -> tuple[list[FrameFiles], list[str]]:
    """Return the frames that can be read, and one message for each other one.

    Args:
        frames: the frames.
        skip_corrupt: leave out frames that cannot be read; else the first one is an error.

    Raises:
        DataError: at the first corrupt frame without `skip_corrupt`, or if no frame can be read.
    """
    readable, skipped = [], []
    for files in frames:
        try:
            read_frame(files)
            readable.append(files)
        except DataError as fault:
            if not skip_corrupt:
                raise type(fault)(f"{fault} (--skip-corrupt leaves out such frames and counts them)") from fault
            skipped.append(str(fault))
    if not readable:
        raise DataError(f"none of {len(frames)} frames can be read: {skipped[0] if skipped else 'there are none'}")
    return readable, skipped


def _read_depth(path: Path, values_per_metre: float) -> NDArray[np.float32]:
    values = np.array(decode_image(path))
    if values.ndim != 2 or values.dtype == np.uint8 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{path} is an image of {values.shape} {values.dtype}; a depth image has one channel of 16 bits, "
            f"{values_per_metre:g} values per metre"
        )
    depth = np.where(np.isin(values, INVALID_DEPTHS) | (values < 0), 0, values / values_per_metre).astype(np.float32)
    if not depth.any():
        raise DataError(f"no pixel of {path} has a depth (all {values.size} are 0 or 65535); remove the frame")
    return depth


def read_pose(files: FrameFiles) -> NDArray[np.float64]:
    """Return the (4, 4) camera-to-world matrix of the depth camera.

    Raises:
        DataError: if it is missing, or no rotation and translation.
    """
    if files.pose is None:
        raise DataError(f"frame {files.name} ({files.colour}) has no pose; add one to the trajectory, or remove it")
    if isinstance(files.pose, Path):
        return require_pose(load_matrix(files.pose), f"the pose of {files.pose}")
    return require_pose(files.pose, f"the pose of {files.colour}")


def require_pose(pose: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return the pose if it is valid.

    Raises:
        DataError: if it is not a rotation and a translation.
    """
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise DataError(f"{name} is not 4 x 4 finite numbers (tracking may have failed); remove the frame")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.02 or np.linalg.det(rotation) < 0:
        raise DataError(f"{name} is not a rotation and translation; a camera-to-world matrix of 4 x 4 is expected")
    return pose
