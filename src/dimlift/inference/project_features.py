"""Project image features onto a point cloud file, and write the result with previews."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimlift.data.io.image_file import read_rgb
from dimlift.data.io.point_cloud import PointCloud, read_point_cloud
from dimlift.data.io.point_cloud_writer import write_ply
from dimlift.data.rgbd.frames import read_frame, readable_frames
from dimlift.data.rgbd.posed_images import match_poses, parse_intrinsics
from dimlift.data.rgbd.recordings import find_frames
from dimlift.errors import DataError
from dimlift.geometry.cameras import Camera, scale_camera
from dimlift.geometry.colours import feature_colours, render_points
from dimlift.methods.projected_features.project import PointFeatures, PosedImage, project_image_features
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps
from dimlift.methods.teachers.teacher import open_map_teacher
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.atomic_write import atomic_write
from dimlift.records.record import write_json

PREVIEW_SIZE = (240, 320)
"""Approximate height and width of the preview image, in pixels."""

POINT_SIZE = 2.5
"""Width of a point in the preview image, in pixels."""


class PosedViews(NamedTuple):
    """Images with cameras.

    Attributes:
        views: read one after the other.
        num_views: their number.
        left_out: one sentence for each frame that was left out.
    """

    views: Iterator[PosedImage]
    num_views: int
    left_out: list[str]


def project_features_to_file(
    points: Path,
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
    upsample: float = 1.0,
    tolerance: float = 0.05,
    occlusion_cell: int = 4,
    cache: Path | None = None,
    skip_corrupt: bool = False,
    columns: Sequence[str] = (),
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Project image features onto the points of a file; writes OUT.npz, OUT.ply, OUT.png and OUT.json.

    Args:
        points: point cloud file.
        out: path ending in .npz; the other files get the same name.
        images, poses, intrinsics: images, their poses and their camera; or
        frames: an RGB-D recording, which contains all three.
        network, pretrained, weights, download: the 2D network; see `open_teacher`.
        upsample: factor by which images are enlarged first, for finer features.
        tolerance, occlusion_cell: see `project_image_features`.
        cache: folder for feature maps; None for OUT.cache.
        skip_corrupt: leave out RGB-D frames that cannot be read.
        columns: names of the columns of a point cloud whose file does not name them.

    Returns:
        The content of OUT.json: numbers of points, visible points, views and channels, network, licence.

    Raises:
        DataError: if the files do not belong together, or no image shows a point.
    """
    if out.suffix != ".npz":
        raise DataError(f"{out} must end in .npz; a .ply, .png and .json of the same name are written too")
    cloud = read_point_cloud(points, columns)
    coordinates = torch.from_numpy(cloud.points)
    posed = _posed_views(images, poses, intrinsics, frames, skip_corrupt)
    teacher = open_map_teacher(network, pretrained=pretrained, weights=weights, download=download)
    maps = CachedFeatureMaps(teacher, cache or out.with_suffix(".cache"), upsample)
    preview: list[PosedImage] = []

    def tracked() -> Iterator[PosedImage]:
        for number, view in enumerate(posed.views):
            progress(Event("features", view.name, (number + 1) / posed.num_views))
            if number == posed.num_views // 2:
                preview.append(view)
            yield view

    projected = project_image_features(coordinates, tracked(), maps, tolerance=tolerance, occlusion_cell=occlusion_cell)
    visible = projected.views > 0
    facts = {
        "points": len(coordinates),
        "visible": int(visible.sum()),
        "views": posed.num_views,
        "left_out": posed.left_out,
        "channels": projected.features.shape[1],
        "network": teacher.name,
        "licence": teacher.licence,
    }
    colours = feature_colours(projected.features, visible)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_npz(out, cloud, projected)
    write_ply(out.with_suffix(".ply"), cloud.points, colours.numpy())
    with atomic_write(out.with_suffix(".png")) as temporary:
        _preview(preview[0], coordinates, colours).save(temporary, format="png")
    write_json(out.with_suffix(".json"), facts)
    return facts


def _posed_views(
    images: Path | None, poses: Path | None, intrinsics: str | None, frames: Path | None, skip_corrupt: bool
) -> PosedViews:
    if frames is not None:
        if images is not None or poses is not None:
            raise DataError("--frames contains images and poses; remove --images and --poses")
        files, left_out = readable_frames(find_frames(frames), skip_corrupt)
        views = (PosedImage(frame.name, frame.image, frame.colour_camera) for frame in map(read_frame, files))
        return PosedViews(views, len(files), left_out)
    if images is None or poses is None or intrinsics is None:
        raise DataError("images are missing: give --images, --poses and --intrinsics, or an RGB-D recording (--frames)")
    posed = match_poses(images, poses)
    camera = torch.from_numpy(parse_intrinsics(intrinsics))
    return PosedViews((_posed_image(path, pose, camera) for path, pose in posed), len(posed), [])


def _posed_image(path: Path, pose: Any, intrinsics: Tensor) -> PosedImage:
    image = torch.from_numpy(np.array(read_rgb(path))).permute(2, 0, 1).float() / 255
    height, width = image.shape[1:]
    if not (0 < intrinsics[0, 2] < width and 0 < intrinsics[1, 2] < height):
        raise DataError(
            f"{path} has {width} x {height} pixels, but the principal point is at ({intrinsics[0, 2]:g}, "
            f"{intrinsics[1, 2]:g}), outside of it; use the intrinsics of images of this size"
        )
    return PosedImage(path.name, image, Camera(intrinsics, torch.from_numpy(pose), (height, width)))


def _write_npz(path: Path, cloud: PointCloud, projected: PointFeatures) -> None:
    arrays = {
        "points": cloud.points,
        "features": projected.features.half().numpy(),
        "views": projected.views.numpy(),
    }
    if cloud.colours is not None:
        arrays["colours"] = cloud.colours
    if cloud.labels is not None:
        arrays["labels"] = cloud.labels
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _preview(view: PosedImage, points: Tensor, colours: Tensor) -> Image.Image:
    """Return an image beside a rendering of the points, coloured by their features, from its camera."""
    factor = min(1.0, PREVIEW_SIZE[0] / view.camera.size[0], PREVIEW_SIZE[1] / view.camera.size[1])
    camera = scale_camera(view.camera, factor)
    coarse = render_points(points, colours, scale_camera(camera, 1 / POINT_SIZE))  # avoids holes in sparse point clouds
    rendered = torch.nn.functional.interpolate(coarse[None], camera.size, mode="nearest")[0]
    image = torch.nn.functional.interpolate(view.image[None], camera.size, mode="bilinear", antialias=True)[0]
    both = torch.cat([image, rendered.to(image)], dim=2).clamp(0, 1)
    return Image.fromarray((both * 255).round().byte().permute(1, 2, 0).numpy())
