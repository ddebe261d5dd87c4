"""Pairs of a measured point and the pixel that shows it, drawn from RGB-D frames by (seed, step)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.batch import FrameBatch
from dimlift.data.rgbd.frames import Frame, read_frame
from dimlift.data.rgbd.recordings import FrameFiles
from dimlift.errors import DataError
from dimlift.geometry.cameras import back_project, project, visible

FRAMES_KEPT = 128
"""Frames whose points are kept in memory, about 5 MB each at 640 x 480."""


class SeenPoints(NamedTuple):
    """The points of one frame, and where its picture shows them.

    Attributes:
        points: in the frame of the depth camera: x right, y down, z forward; metres.
        colours: of each point as the picture shows it, 0 to 1; grey where it does not.
        shown: rows of the points that the colour camera sees; what another surface hides is not among them.
        places: (x, y) in the picture of each point shown, from -1 to 1.
    """

    points: Float[Tensor, "points 3"]
    colours: Float[Tensor, "points 3"]
    shown: Int[Tensor, " shown"]
    places: Float[Tensor, "shown 2"]


def seen_points(frame: Frame, stride: int = 1, tolerance: float = 0.05) -> SeenPoints:
    """Points of every `stride`-th pixel, in rows and columns, of the depth image.

    Args:
        stride: what hides what is decided with all pixels, whatever the stride.
        tolerance: share of its depth by which a point may lie behind the nearest surface of its pixel.
    """
    points, pixels = back_project(frame.depth.double(), frame.depth_camera)
    sight = visible(points, frame.colour_camera, tolerance)
    is_seen = torch.zeros(len(points), dtype=torch.bool)
    is_seen[sight.points] = True
    width = frame.depth.shape[1]
    kept = ((pixels // width) % stride == 0) & ((pixels % width) % stride == 0)
    points, is_seen = points[kept], is_seen[kept]
    shown = is_seen.nonzero().squeeze(1)
    places, _ = project(points[shown], frame.colour_camera)
    height, width = frame.colour_camera.size
    columns, rows = torch.floor(places).long().unbind(1)
    colours = torch.full((len(points), 3), 0.5)
    colours[shown] = frame.picture[:, rows, columns].T
    pose = frame.depth_camera.pose
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    return SeenPoints(local.float(), colours, shown, (places / torch.tensor([width, height]) * 2 - 1).float())


def superpixels(picture: Float[Tensor, "3 height width"], count: int) -> Int[Tensor, "height width"]:
    """SLIC segments of a picture, numbered from 0 (Achanta et al., 2012), at most about `count`.

    Raises:
        DataError: if scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as fault:
        raise DataError("superpixels are made with scikit-image: pip install 'dimlift[points]'") from fault
    found = slic(picture.permute(1, 2, 0).numpy(), n_segments=count, compactness=6, start_label=0)
    return torch.from_numpy(found)


class PairSampler:
    """Draws batches of frames and of pairs in them, a function of (seed, step) alone.

    Args:
        frames: what is drawn from.
        stride, tolerance: see `seen_points`.
        pairs: of a batch, or as many as there are.
        segments: superpixels of a picture; 0 makes none.
        mirror: show half of all frames as in a mirror, points and picture.
        rotate: turn every frame's points about the vertical of its camera, and scale them by 0.8 to 1.2.
        seed: with the step the only source of chance.
    """

    def __init__(
        self,
        frames: Sequence[FrameFiles],
        *,
        stride: int = 4,
        tolerance: float = 0.05,
        pairs: int = 4096,
        segments: int = 0,
        mirror: bool = False,
        rotate: bool = True,
        seed: int = 0,
    ) -> None:
        self.frames, self.pairs, self.segments = tuple(frames), pairs, segments
        self.mirror, self.rotate, self.seed = mirror, rotate, seed
        self._read = lru_cache(FRAMES_KEPT)(lambda index: self._prepared(index, stride, tolerance))

    def batch(self, step: int, count: int) -> FrameBatch:
        """`count` frames, no two the same while there are enough.

        Raises:
            DataError: if they have no point that their picture shows.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.frames), count, replace=count > len(self.frames)).tolist()
        return self.together(chosen, rng)

    def together(self, chosen: Sequence[int], rng: np.random.Generator) -> FrameBatch:
        """These frames, with pairs and turns drawn from `rng`."""
        pictures, points, colours, frame, shown, places, segments = [], [], [], [], [], [], []
        first_point, first_segment = 0, 0
        for number, index in enumerate(chosen):
            picture, seen, regions = self._read(index)
            local, where = seen.points, seen.places
            if regions is not None:
                segments.append(_at(regions, where) + first_segment)
                first_segment += int(regions.max()) + 1
            if self.mirror and rng.random() < 0.5:
                picture, local, where = (
                    picture.flip(-1),
                    local * torch.tensor([-1, 1, 1]),
                    where * torch.tensor([-1, 1]),
                )
            if self.rotate:
                local = _turned(local, rng)
            pictures.append(picture)
            points.append(local)
            colours.append(seen.colours)
            frame.append(torch.full((len(local),), number))
            shown.append(seen.shown + first_point)
            places.append(where)
            first_point += len(local)
        names = tuple(self.frames[index].name for index in chosen)
        available = sum(map(len, shown))
        if not available:
            raise DataError(f"no point of {', '.join(names)} lies in its picture; check the cameras (cameras.json)")
        if len({picture.shape for picture in pictures}) > 1:
            raise DataError(f"the pictures of {', '.join(names)} are not of one size; scale them, or batch one by one")
        drawn = torch.from_numpy(np.sort(rng.choice(available, min(self.pairs, available), replace=False)))
        return FrameBatch(
            image=torch.stack(pictures),
            points=torch.cat(points),
            colours=torch.cat(colours),
            frame=torch.cat(frame),
            pair_points=torch.cat(shown)[drawn],
            pair_places=torch.cat(places)[drawn],
            cases=names,
            pair_segments=torch.cat(segments)[drawn] if segments else None,
        )

    def _prepared(self, index: int, stride: int, tolerance: float) -> tuple[Tensor, SeenPoints, Tensor | None]:
        frame = read_frame(self.frames[index])
        regions = superpixels(frame.picture, self.segments) if self.segments else None
        return frame.picture, seen_points(frame, stride, tolerance), regions


def _at(regions: Int[Tensor, "height width"], places: Float[Tensor, "shown 2"]) -> Int[Tensor, " shown"]:
    height, width = regions.shape
    columns = ((places[:, 0] + 1) / 2 * width).long().clamp(0, width - 1)
    rows = ((places[:, 1] + 1) / 2 * height).long().clamp(0, height - 1)
    return regions[rows, columns]


def _turned(points: Float[Tensor, "points 3"], rng: np.random.Generator) -> Float[Tensor, "points 3"]:
    angle, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.8, 1.2)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    return points @ torch.tensor([[cos, 0.0, -sin], [0.0, scale, 0.0], [sin, 0.0, cos]], dtype=points.dtype)
