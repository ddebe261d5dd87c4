"""The two cameras of an RGB-D sensor: how each sees, and where the colour camera sits beside the depth camera."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DamagedFile, DataError

RIG_NAME = "cameras.json"


class Rig(NamedTuple):
    """What every frame of a recording was taken with. Intrinsics in pixels, pixel centres at +0.5.

    Attributes:
        depth: (3, 3) intrinsics of the depth camera.
        colour: (3, 3) of the colour camera; None where every depth image is registered to its colour image already,
            pixel by pixel.
        colour_to_depth: (4, 4) pose of the colour camera in the frame of the depth camera, in metres.
        values_per_metre: of the depth images.
        source: where it was read, for messages and records.
    """

    depth: NDArray[np.float64]
    colour: NDArray[np.float64] | None
    colour_to_depth: NDArray[np.float64]
    values_per_metre: float
    source: str

    @property
    def registration(self) -> str:
        """One sentence for the record."""
        if self.colour is None:
            return f"colour and depth are taken as registered ({self.source})"
        beside = ", ".join(f"{1000 * step:g}" for step in self.colour_to_depth[:3, 3])
        return f"colour camera of f={self.colour[0, 0]:g} pixels, {beside} mm beside the depth camera ({self.source})"


def rig_of(
    folder: Path,
    depth_files: tuple[str, ...] = (),
    colour_files: tuple[str, ...] = (),
    values_per_metre: float = 1000,
) -> Rig:
    """The cameras of a recording: `cameras.json` where there is one, else the files the layout has for them.

    `cameras.json` holds {"depth": {fx, fy, cx, cy}, "colour": the same or null, "colour_to_depth": 4 x 4 or null,
    "values_per_metre": number}, pixel centres at +0.5. Open3D's `camera*.json` (and `intrinsic.json`) count pixel
    centres from 0, so that half a pixel is added.

    Raises:
        DataError: if nothing says what the cameras are.
        DamagedFile: if a file that should cannot be read.
    """
    if (folder / RIG_NAME).is_file():
        return _own(folder / RIG_NAME, values_per_metre)
    found = [path for name in depth_files if (path := folder / name).is_file()]
    if found:
        depth = load_matrix(found[0])[:3, :3]
        colours = [path for name in colour_files if (path := folder / name).is_file()]
        colour = load_matrix(colours[0])[:3, :3] if colours else None
        if colour is None and _is_sevenscenes(depth, found[0]):
            return Rig(depth, *SEVENSCENES_COLOUR, values_per_metre, "the known registration of 7-Scenes")
        return Rig(depth, colour, np.eye(4), values_per_metre, found[0].name)
    for home in (folder, folder.parent):
        for path in sorted([*home.glob("camera_primesense.json"), *home.glob("intrinsic.json")]):
            return Rig(_open3d(path), None, np.eye(4), values_per_metre, path.name)
    raise DataError(
        f"{folder} does not say what its cameras are; write {folder / RIG_NAME} with "
        '{"depth": {"fx": 525, "fy": 525, "cx": 320, "cy": 240}, "colour": null, "values_per_metre": '
        f"{values_per_metre:g}}} and the numbers of your sensor (colour null: registered to the depth image)"
    )


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """(3, 3)."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def beside(x: float) -> NDArray[np.float64]:
    """Pose of a camera that looks the same way, x metres to the right."""
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


SEVENSCENES_COLOUR = (intrinsics(530, 530, 320, 240), beside(0.02))
"""The Kinect's colour camera as it fits 7-Scenes: the depth images are not registered to the colour images."""


def load_matrix(path: Path, columns: int | None = None) -> NDArray[np.float64]:
    """Rows of numbers from a text file.

    Raises:
        DataError: if there is no such file.
        DamagedFile: if it holds something else than finite numbers.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}; copy it beside the images, or leave the frame out")
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as fault:
        raise DamagedFile(f"{path} cannot be read as rows of numbers ({fault}); copy it again") from fault
    wanted = (3, 4) if columns is None else (columns,)
    if not rows.size or rows.shape[1] not in wanted:
        raise DamagedFile(f"{path} holds {rows.shape} numbers; rows of {' or '.join(map(str, wanted))} are wanted")
    return rows


def _is_sevenscenes(depth: NDArray[np.float64], path: Path) -> bool:
    return path.name == "camera-intrinsics.txt" and bool(np.allclose(depth, intrinsics(585, 585, 320, 240)))


def _own(path: Path, values_per_metre: float) -> Rig:
    told = _json(path)
    try:
        depth = intrinsics(**{name: float(told["depth"][name]) for name in ("fx", "fy", "cx", "cy")})
        colour = told.get("colour")
        colour = colour and intrinsics(**{name: float(colour[name]) for name in ("fx", "fy", "cx", "cy")})
        beside = np.asarray(told.get("colour_to_depth") or np.eye(4), dtype=np.float64).reshape(4, 4)
        return Rig(depth, colour, beside, float(told.get("values_per_metre", values_per_metre)), path.name)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DamagedFile(f"{path}: {fault!r}; wanted are depth, colour (each fx, fy, cx, cy) and numbers") from fault


def _open3d(path: Path) -> NDArray[np.float64]:
    told = _json(path)
    try:
        flat = told["intrinsic_matrix"]  # column by column
        return intrinsics(flat[0], flat[4], flat[6] + 0.5, flat[7] + 0.5)
    except (KeyError, IndexError, TypeError) as fault:
        raise DamagedFile(f"{path} holds no intrinsic_matrix of 9 numbers; export it again from Open3D") from fault


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DamagedFile(f"{path} is not JSON ({fault}); write it again") from fault
