"""RGB-D frames: a colour image, a depth image, and a camera of its own for each. Lengths in metres."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dimlift.data.io.images import read_picture
from dimlift.data.rgbd.cameras import load_matrix
from dimlift.data.rgbd.recordings import FrameFiles
from dimlift.errors import DamagedFile, DataError
from dimlift.geometry.cameras import Camera

UNKNOWN = (0, 65535)
"""Values of a depth image that say that nothing was measured."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One look of the sensor.

    Attributes:
        name: for messages.
        picture: (3, H, W), red, green, blue from 0 to 1.
        depth: (h, w) along the optical axis of the depth camera; 0 where nothing was measured.
        colour_camera: of the picture.
        depth_camera: of the depth image.
    """

    name: str
    picture: Float[Tensor, "3 height width"]
    depth: Float[Tensor, "h w"]
    colour_camera: Camera
    depth_camera: Camera


def read_frame(files: FrameFiles) -> Frame:
    """The frame of these files.

    Raises:
        DataError: if one is missing, depth and colour do not belong together, or nothing was measured.
        DamagedFile: if one is cut short or not what its name says.
    """
    for kind, path in (("colour", files.colour), ("depth", files.depth)):
        if not path.is_file():
            raise DataError(f"frame {files.name} has no {kind} image {path}; copy it there, or leave the frame out")
    pose = _pose(files)
    depth = _read_depth(files.depth, files.rig.values_per_metre)
    picture = torch.from_numpy(np.array(read_picture(files.colour))).permute(2, 0, 1).float() / 255
    size = (picture.shape[1], picture.shape[2])
    if files.rig.colour is None and size != depth.shape:
        raise DataError(
            f"{files.colour} has {size[1]} x {size[0]} pixels and {files.depth} {depth.shape[1]} x {depth.shape[0]}, "
            "but one camera is given for both; scale one, or write the colour camera into cameras.json"
        )
    colour = files.rig.depth if files.rig.colour is None else files.rig.colour
    for path, camera, (height, width) in ((files.depth, files.rig.depth, depth.shape), (files.colour, colour, size)):
        if not (0 < camera[0, 2] < width and 0 < camera[1, 2] < height):
            raise DataError(
                f"{path} has {width} x {height} pixels, but its camera looks at pixel ({camera[0, 2]:g}, "
                f"{camera[1, 2]:g}); the intrinsics belong to images of another size"
            )
    return Frame(
        files.name,
        picture,
        torch.from_numpy(depth),
        Camera(torch.from_numpy(colour), torch.from_numpy(pose @ files.rig.colour_to_depth), size),
        Camera(torch.from_numpy(files.rig.depth), torch.from_numpy(pose), depth.shape),
    )


def usable_frames(frames: Sequence[FrameFiles], skip_bad: bool = False) -> tuple[list[FrameFiles], list[str]]:
    """Frames that can be read, and one sentence for each that cannot.

    Args:
        skip_bad: leave those out; else the first one is an error.

    Raises:
        DataError: at the first bad frame, or if none is left.
    """
    good, bad = [], []
    for files in frames:
        try:
            read_frame(files)
            good.append(files)
        except DataError as fault:
            if not skip_bad:
                raise type(fault)(f"{fault} (--skip-bad leaves such frames out and counts them)") from fault
            bad.append(str(fault))
    if not good:
        raise DataError(f"none of {len(frames)} frames can be read; the first says: {bad[0] if bad else 'nothing'}")
    return good, bad


def _read_depth(path: Path, values_per_metre: float) -> NDArray[np.float32]:
    try:
        with Image.open(path) as image:
            values = np.array(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as fault:
        raise DamagedFile(f"{path} cannot be read as a depth image ({fault}); copy it again") from fault
    if values.ndim != 2 or values.dtype == np.uint8 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{path} is an image of {values.shape} {values.dtype}; depth comes as one channel of 16 bits, "
            f"{values_per_metre:g} values a metre"
        )
    depth = np.where(np.isin(values, UNKNOWN) | (values < 0), 0, values / values_per_metre).astype(np.float32)
    if not depth.any():
        raise DataError(f"no pixel of {path} has a depth (all {values.size} are 0 or 65535); leave the frame out")
    return depth


def _pose(files: FrameFiles) -> NDArray[np.float64]:
    if files.pose is None:
        raise DataError(f"frame {files.name} ({files.colour}) has no pose; add one to the trajectory, or leave it out")
    pose, where = (load_matrix(files.pose), files.pose) if isinstance(files.pose, Path) else (files.pose, files.colour)
    return sound_pose(pose, f"the pose of {where}")


def sound_pose(pose: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The pose, if it is one.

    Raises:
        DataError: naming it, if it is not a rotation and a place.
    """
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise DataError(f"{name} is not 4 x 4 finite numbers (tracking was lost there?); leave the frame out")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.02 or np.linalg.det(rotation) < 0:
        raise DataError(f"{name} does not turn but stretch or mirror; camera-to-world of 4 x 4 numbers is wanted")
    return pose
