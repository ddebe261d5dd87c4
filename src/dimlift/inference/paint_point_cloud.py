"""Paint a cloud: read it and its pictures, lay 2D features onto its points, write and show them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimlift.data.io.images import read_picture
from dimlift.data.io.point_cloud import read_cloud
from dimlift.data.io.point_cloud_writer import write_ply
from dimlift.data.rgbd.frames import read_frame, usable_frames
from dimlift.data.rgbd.posed_images import find_poses, told_intrinsics
from dimlift.data.rgbd.recordings import find_frames
from dimlift.errors import DataError
from dimlift.geometry.cameras import Camera, scaled
from dimlift.geometry.colours import feature_colours, picture_of
from dimlift.methods.points.painting import PosedPicture, paint
from dimlift.methods.teachers.feature_maps import TeacherMaps
from dimlift.methods.teachers.teacher import open_map_teacher
from dimlift.progress import Event, Progress, silent
from dimlift.records.atomic_write import written_whole
from dimlift.records.record import write_json

SHOWN = (240, 320)
"""About the size of the picture of painted points."""

GRAIN = 2.5
"""Pixels of that picture that a point may fill."""


def paint_cloud(
    cloud: Path,
    out: Path,
    *,
    images: Path | None = None,
    poses: Path | None = None,
    intrinsics: str | None = None,
    frames: Path | None = None,
    network: str = "packaged:efficientnet_lite0",
    pretrained: bool | None = None,
    weights: Path | None = None,
    download: bool = False,
    enlarge: float = 1.0,
    tolerance: float = 0.05,
    cell: int = 4,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Features of every point of a file; leaves OUT.npz, OUT.ply, OUT.png and OUT.json.

    Args:
        out: ends in .npz; the three others lie beside it.
        images, poses, intrinsics: pictures, their poses and their camera; or
        frames: an RGB-D recording, which holds all three.
        cache: folder for maps of pictures; OUT.cache if not said.

    Returns:
        what OUT.json holds: points, points seen, views, channels, network, licence.

    Raises:
        DataError: if files do not fit each other, or no picture shows a point.
    """
    if out.suffix != ".npz":
        raise DataError(f"{out} must end in .npz; a .ply, .png and .json of the same name are written beside it")
    read = read_cloud(cloud)
    points = torch.from_numpy(read.points)
    left_out: list[str] = []
    if frames is not None:
        if images is not None or poses is not None:
            raise DataError("--frames holds pictures and poses; take --images and --poses out")
        good, left_out = usable_frames(find_frames(frames), skip_bad)
        count = len(good)
        views: Iterator[PosedPicture] = (
            PosedPicture(frame.name, frame.picture, frame.colour_camera) for frame in map(read_frame, good)
        )
    elif images is None or poses is None or intrinsics is None:
        raise DataError("give --images, --poses and --intrinsics, or an RGB-D recording with --frames")
    else:
        posed = find_poses(images, poses)
        camera = torch.from_numpy(told_intrinsics(intrinsics))
        count = len(posed)
        views = (_posed(path, pose, camera) for path, pose in posed)
    teacher = open_map_teacher(network, pretrained=pretrained, weights=weights, download=download)
    maps = TeacherMaps(teacher, cache or out.with_suffix(".cache"), enlarge)
    shown: list[PosedPicture] = []

    def heard() -> Iterator[PosedPicture]:
        for number, view in enumerate(views):
            progress(Event("features", view.name, (number + 1) / count))
            if number == count // 2:
                shown.append(view)
            yield view

    found = paint(points, heard(), maps, tolerance=tolerance, cell=cell)
    known = found.views > 0
    facts = {
        "points": len(points),
        "seen": int(known.sum()),
        "views": count,
        "left_out": left_out,
        "channels": found.features.shape[1],
        "network": teacher.name,
        "licence": teacher.licence,
    }
    colours = feature_colours(found.features, known)
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = {"points": read.points, "features": found.features.half().numpy(), "views": found.views.numpy()}
    if read.colours is not None:
        kept["colours"] = read.colours
    if read.labels is not None:
        kept["labels"] = read.labels
    with written_whole(out) as scratch, scratch.open("wb") as stream:
        np.savez(stream, **kept)  # type: ignore[arg-type]
    write_ply(out.with_suffix(".ply"), read.points, colours.numpy())
    with written_whole(out.with_suffix(".png")) as scratch:
        _beside(shown[0], points, colours).save(scratch, format="png")
    write_json(out.with_suffix(".json"), facts)
    return facts


def _posed(path: Path, pose: Any, intrinsics: Tensor) -> PosedPicture:
    picture = torch.from_numpy(np.array(read_picture(path))).permute(2, 0, 1).float() / 255
    height, width = picture.shape[1:]
    if not (0 < intrinsics[0, 2] < width and 0 < intrinsics[1, 2] < height):
        raise DataError(
            f"{path} has {width} x {height} pixels, but the camera looks at pixel ({intrinsics[0, 2]:g}, "
            f"{intrinsics[1, 2]:g}); the intrinsics belong to pictures of another size"
        )
    return PosedPicture(path.name, picture, Camera(intrinsics, torch.from_numpy(pose), (height, width)))


def _beside(view: PosedPicture, points: Tensor, colours: Tensor) -> Image.Image:
    """A picture, and the points coloured by their features as its camera sees them."""
    factor = min(1.0, SHOWN[0] / view.camera.size[0], SHOWN[1] / view.camera.size[1])
    small = scaled(view.camera, factor)
    coarse = picture_of(points, colours, scaled(small, 1 / GRAIN))  # at full size a thin cloud is mostly holes
    painted = torch.nn.functional.interpolate(coarse[None], small.size, mode="nearest")[0]
    taken = torch.nn.functional.interpolate(view.picture[None], small.size, mode="bilinear", antialias=True)[0]
    both = torch.cat([taken, painted.to(taken)], dim=2).clamp(0, 1)
    return Image.fromarray((both * 255).round().byte().permute(1, 2, 0).numpy())
