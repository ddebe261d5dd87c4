"""Sample pairs of a measured point and the pixel that shows it from RGB-D frames, as a function of (seed, step)."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from dimlift.batch import FrameBatch
from dimlift.data.rgbd.frames import Frame, read_frame, read_pose
from dimlift.data.rgbd.recordings import FrameFiles
from dimlift.data.rgbd.upright import mean_up_direction, rotation_to_axis
from dimlift.errors import DataError
from dimlift.geometry.cameras import back_project, compute_visibility, project

CACHED_FRAMES = 128
"""Frames whose points are kept in memory, about 5 MB each at 640 x 480."""


class VisiblePoints(NamedTuple):
    """The points of one frame, and their positions in its image.

    Attributes:
        points: coordinates in the frame of the depth camera, x right, y down, z forward, in metres.
        colours: RGB of each point from 0 to 1; grey for points that the image does not show.
        visible: rows of the points that the colour camera sees, without occluded ones.
        uv: (x, y) in the image of each visible point, from -1 to 1.
    """

    points: Float[Tensor, "points 3"]
    colours: Float[Tensor, "points 3"]
    visible: Int[Tensor, " visible"]
    uv: Float[Tensor, "visible 2"]


def visible_points(frame: Frame, stride: int = 1, tolerance: float = 0.05) -> VisiblePoints:
    """Return the points of every `stride`-th row and column of the depth image.

    Args:
        frame: the frame.
        stride: step between pixels; occlusion is computed with all pixels.
        tolerance: fraction of its depth by which a point may be behind the nearest surface of its pixel.
    """
    points, pixels = back_project(frame.depth.double(), frame.depth_camera)
    visibility = compute_visibility(points, frame.colour_camera, tolerance)
    is_visible = torch.zeros(len(points), dtype=torch.bool)
    is_visible[visibility.points] = True
    width = frame.depth.shape[1]
    kept = ((pixels // width) % stride == 0) & ((pixels % width) % stride == 0)
    points, is_visible = points[kept], is_visible[kept]
    visible = is_visible.nonzero().squeeze(1)
    positions, _ = project(points[visible], frame.colour_camera)
    height, width = frame.colour_camera.size
    columns, rows = torch.floor(positions).long().unbind(1)
    colours = torch.full((len(points), 3), 0.5)
    colours[visible] = frame.image[:, rows, columns].T
    pose = frame.depth_camera.pose
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    return VisiblePoints(local.float(), colours, visible, (positions / torch.tensor([width, height]) * 2 - 1).float())


def superpixels(image: Float[Tensor, "3 height width"], count: int) -> Int[Tensor, "height width"]:
    """Return SLIC superpixels of an image (Achanta et al., 2012), numbered from 0, at most about `count`.

    Raises:
        DataError: if scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as fault:
        raise DataError("superpixels need scikit-image: pip install 'dimlift[points]'") from fault
    segments = slic(image.permute(1, 2, 0).numpy(), n_segments=count, compactness=6, start_label=0)
    return torch.from_numpy(segments)


class PixelPointPairSampler:
    """Samples batches of frames and of pixel-point pairs in them.

    Args:
        frames: the frames to sample from.
        stride, tolerance: see `visible_points`.
        num_pairs: pairs per batch, or as many as there are.
        num_superpixels: superpixels per image; 0 computes none.
        mirror: mirror half of all frames, points and images.
        rotate: rotate the points of every frame about the vertical axis, and scale them by 0.8 to 1.2.
        up_axis: axis of the points that points up; the direction of gravity follows from the poses of a recording. The
            origin is the depth camera.
        seed: random seed.

    Raises:
        DataError: if the poses of a recording do not determine which way is up.
    """

    def __init__(
        self,
        frames: Sequence[FrameFiles],
        *,
        stride: int = 4,
        tolerance: float = 0.05,
        num_pairs: int = 4096,
        num_superpixels: int = 0,
        mirror: bool = False,
        rotate: bool = True,
        up_axis: int = 1,
        seed: int = 0,
    ) -> None:
        self.frames, self.num_pairs, self.num_superpixels = tuple(frames), num_pairs, num_superpixels
        self.mirror, self.rotate, self.seed = mirror, rotate, seed
        self.up_axis, self._upright = up_axis, _upright_rotations(self.frames, up_axis)
        self._load = lru_cache(CACHED_FRAMES)(lambda index: self._load_frame(index, stride, tolerance))

    def batch(self, step: int, batch_size: int) -> FrameBatch:
        """Return the batch of a step, without repetition if there are enough frames.

        Raises:
            DataError: if the images show no point.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.frames), batch_size, replace=batch_size > len(self.frames)).tolist()
        return self.collate(chosen, rng)

    def collate(self, chosen: Sequence[int], rng: np.random.Generator) -> FrameBatch:
        """Return a batch of these frames, with pairs and augmentation sampled from `rng`."""
        images, points, colours, frame, visible, uv, segments = [], [], [], [], [], [], []
        num_points, num_segments = 0, 0
        for number, index in enumerate(chosen):
            image, seen, regions = self._load(index)
            local, positions = seen.points, seen.uv
            if regions is not None:
                segments.append(_regions_at(regions, positions) + num_segments)
                num_segments += int(regions.max()) + 1
            if self.mirror and rng.random() < 0.5:
                image = image.flip(-1)
                sides = torch.ones(3)
                sides[(self.up_axis + 1) % 3] = -1  # a horizontal axis
                local, positions = local * sides, positions * torch.tensor([-1, 1])
            if self.rotate:
                local = _rotate_and_scale(local, rng, self.up_axis)
            images.append(image)
            points.append(local)
            colours.append(seen.colours)
            frame.append(torch.full((len(local),), number))
            visible.append(seen.visible + num_points)
            uv.append(positions)
            num_points += len(local)
        names = tuple(self.frames[index].name for index in chosen)
        available = sum(map(len, visible))
        if not available:
            raise DataError(f"the images of {', '.join(names)} show none of their points; check cameras.json")
        if len({image.shape for image in images}) > 1:
            raise DataError(f"the images of {', '.join(names)} differ in size; resize them, or use a batch size of 1")
        pairs = torch.from_numpy(np.sort(rng.choice(available, min(self.num_pairs, available), replace=False)))
        return FrameBatch(
            image=torch.stack(images),
            points=torch.cat(points),
            colours=torch.cat(colours),
            frame=torch.cat(frame),
            pair_points=torch.cat(visible)[pairs],
            pair_uv=torch.cat(uv)[pairs],
            cases=names,
            pair_segments=torch.cat(segments)[pairs] if segments else None,
        )

    def _load_frame(self, index: int, stride: int, tolerance: float) -> tuple[Tensor, VisiblePoints, Tensor | None]:
        frame = read_frame(self.frames[index])
        regions = superpixels(frame.image, self.num_superpixels) if self.num_superpixels else None
        seen = visible_points(frame, stride, tolerance)
        turned = torch.from_numpy(self._upright[index]).float() @ frame.depth_camera.pose[:3, :3].float()
        return frame.image, seen._replace(points=seen.points @ turned.T), regions


def _regions_at(regions: Int[Tensor, "height width"], uv: Float[Tensor, "visible 2"]) -> Int[Tensor, " visible"]:
    height, width = regions.shape
    columns = ((uv[:, 0] + 1) / 2 * width).long().clamp(0, width - 1)
    rows = ((uv[:, 1] + 1) / 2 * height).long().clamp(0, height - 1)
    return regions[rows, columns]


def _upright_rotations(frames: Sequence[FrameFiles], up_axis: int) -> list[NDArray[np.float64]]:
    """Return for each frame the rotation that turns the world of its recording upright."""
    poses: dict[Path, list[NDArray[np.float64]]] = defaultdict(list)
    for files in frames:
        poses[files.depth.parent].append(read_pose(files))
    found = {}
    for folder, several in poses.items():
        try:
            found[folder] = rotation_to_axis(mean_up_direction(np.stack(several)), up_axis)
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None
    return [found[files.depth.parent] for files in frames]


def _rotate_and_scale(
    points: Float[Tensor, "points 3"], rng: np.random.Generator, up_axis: int
) -> Float[Tensor, "points 3"]:
    angle, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.8, 1.2)
    turn = scale * Rotation.from_rotvec(angle * np.eye(3)[up_axis]).as_matrix()
    return points @ torch.from_numpy(turn.T).to(points)
