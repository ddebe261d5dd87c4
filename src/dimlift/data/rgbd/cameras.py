"""Camera rig of an RGB-D sensor: intrinsics of both cameras and the pose of the colour camera."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import CorruptFileError, DataError
from dimlift.records.json_file import read_json

RIG_FILE = "cameras.json"


class CameraRig(NamedTuple):
    """The cameras of a recording. Intrinsics in pixels, pixel centres at +0.5.

    Attributes:
        depth: (3, 3) intrinsics of the depth camera.
        colour: (3, 3) intrinsics of the colour camera; None if every depth image is registered to its colour image.
        colour_to_depth: (4, 4) pose of the colour camera in the frame of the depth camera, in metres.
        values_per_metre: scale of the depth images.
        source: where it was read from, for messages and records.
    """

    depth: NDArray[np.float64]
    colour: NDArray[np.float64] | None
    colour_to_depth: NDArray[np.float64]
    values_per_metre: float
    source: str

    @property
    def registration(self) -> str:
        """Registration of colour and depth in one phrase, for the run record."""
        if self.colour is None:
            return f"colour and depth images are registered ({self.source})"
        offset = ", ".join(f"{1000 * step:g}" for step in self.colour_to_depth[:3, 3])
        return f"colour camera of f={self.colour[0, 0]:g} pixels, {offset} mm from the depth camera ({self.source})"


def read_camera_rig(
    folder: Path,
    depth_files: tuple[str, ...] = (),
    colour_files: tuple[str, ...] = (),
    values_per_metre: float = 1000,
) -> CameraRig:
    """Read the cameras of a recording from `cameras.json`, or else from the files of its layout.

    `cameras.json` holds {"depth": {fx, fy, cx, cy}, "colour": the same or null, "colour_to_depth": 4 x 4 or null,
    "values_per_metre": number}, pixel centres at +0.5. In Open3D's `camera*.json` and `intrinsic.json` pixel centres
    are at 0, so half a pixel is added.

    Args:
        folder: the recording.
        depth_files: files of the layout with the intrinsics of the depth camera.
        colour_files: files of the layout with the intrinsics of the colour camera.
        values_per_metre: scale of the depth images in this layout.

    Raises:
        DataError: if there is no file with the cameras.
        CorruptFileError: if it cannot be read.
    """
    if (folder / RIG_FILE).is_file():
        return _read_rig_file(folder / RIG_FILE, values_per_metre)
    depth_paths = [path for name in depth_files if (path := folder / name).is_file()]
    if depth_paths:
        depth = load_matrix(depth_paths[0])[:3, :3]
        colour_paths = [path for name in colour_files if (path := folder / name).is_file()]
        colour = load_matrix(colour_paths[0])[:3, :3] if colour_paths else None
        if colour is None and _is_sevenscenes(depth, depth_paths[0]):
            return CameraRig(depth, *SEVENSCENES_COLOUR, values_per_metre, "the known registration of 7-Scenes")
        return CameraRig(depth, colour, np.eye(4), values_per_metre, depth_paths[0].name)
    for parent in (folder, folder.parent):
        for path in sorted([*parent.glob("camera_primesense.json"), *parent.glob("intrinsic.json")]):
            return CameraRig(_read_open3d(path), None, np.eye(4), values_per_metre, path.name)
    raise DataError(
        f"{folder} has no file with the cameras; write {folder / RIG_FILE} with "
        '{"depth": {"fx": 525, "fy": 525, "cx": 320, "cy": 240}, "colour": null, "values_per_metre": '
        f"{values_per_metre:g}}} and the numbers of your sensor (colour null: registered to the depth image)"
    )


def intrinsic_matrix(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """Return intrinsics as a (3, 3) matrix."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def translated_pose(x: float) -> NDArray[np.float64]:
    """Return the pose of a camera with the same orientation, x metres to the right."""
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


SEVENSCENES_COLOUR = (intrinsic_matrix(530, 530, 320, 240), translated_pose(0.02))
"""Estimated colour camera of 7-Scenes, whose depth images are not registered to the colour images."""


def load_matrix(path: Path, columns: int | None = None) -> NDArray[np.float64]:
    """Read rows of numbers from a text file.

    Args:
        path: the file.
        columns: expected number of columns; None for 3 or 4.

    Raises:
        DataError: if the file does not exist.
        CorruptFileError: if it does not hold rows of numbers.
    """
    if not path.is_file():
        raise DataError(f"the file {path} does not exist; copy it next to the images, or remove the frame")
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as fault:
        raise CorruptFileError(f"{path} cannot be read as rows of numbers ({fault}); copy it again") from fault
    expected = (3, 4) if columns is None else (columns,)
    if not rows.size or rows.shape[1] not in expected:
        raise CorruptFileError(
            f"{path} holds {rows.shape} numbers; rows of {' or '.join(map(str, expected))} are expected"
        )
    return rows


def _is_sevenscenes(depth: NDArray[np.float64], path: Path) -> bool:
    return path.name == "camera-intrinsics.txt" and bool(np.allclose(depth, intrinsic_matrix(585, 585, 320, 240)))


def _read_rig_file(path: Path, values_per_metre: float) -> CameraRig:
    content = _read_json(path)
    try:
        depth = intrinsic_matrix(**{name: float(content["depth"][name]) for name in ("fx", "fy", "cx", "cy")})
        colour = content.get("colour")
        colour = colour and intrinsic_matrix(**{name: float(colour[name]) for name in ("fx", "fy", "cx", "cy")})
        pose = np.asarray(content.get("colour_to_depth") or np.eye(4), dtype=np.float64).reshape(4, 4)
        return CameraRig(depth, colour, pose, float(content.get("values_per_metre", values_per_metre)), path.name)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as fault:
        raise CorruptFileError(
            f"{path}: {fault!r}; depth and colour (fx, fy, cx, cy each) and numbers are expected"
        ) from fault


def _read_open3d(path: Path) -> NDArray[np.float64]:
    content = _read_json(path)
    try:
        flat = content["intrinsic_matrix"]  # column-major
        return intrinsic_matrix(flat[0], flat[4], flat[6] + 0.5, flat[7] + 0.5)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as fault:
        raise CorruptFileError(f"{path} holds no intrinsic_matrix of 9 numbers; export it again from Open3D") from fault


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as fault:
        raise CorruptFileError(f"{path} is not JSON ({fault}); write it again") from fault
