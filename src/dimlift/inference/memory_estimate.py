"""What predicting a volume will take of the memory, said before it starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dimlift.data.chunks import SLAB
from dimlift.data.preprocessing.resampling import SPLINE_REACH
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.read_cache import ROOM
from dimlift.data.volume import Grid
from dimlift.errors import RunError
from dimlift.inference.predictor import Trained
from dimlift.inference.streaming_window import window_starts
from dimlift.training.memory import PeakMemory, readable, resident_bytes

SLACK = 64 * 2**20
"""For what nobody counts: allocators that keep a little, compression, the command itself."""


@dataclass(frozen=True)
class Footprint:
    """Resident bytes at the peak of each stage; what the process held before counts in all of them.

    Attributes:
        case: name of the volume.
        shape: its voxels (depth, height, width).
    """

    case: str
    shape: tuple[int, int, int]
    reading: int
    inference: int
    writing: int

    @property
    def peak(self) -> int:
        """The most of the three."""
        return max(self.reading, self.inference, self.writing)

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.shape)
        return (
            f"{self.case} ({size} voxels): about {readable(self.peak)} of memory at the peak (reading "
            f"{readable(self.reading)}, network {readable(self.inference)}, writing {readable(self.writing)})"
        )


def footprints(trained: Trained, cases: dict[str, list[Grid]]) -> list[Footprint]:
    """What each case will take, the most first.

    One batch of windows of the largest case is tried on noise, since no formula knows what a network needs.

    Args:
        cases: the grids of each case's files.
    """
    plans = {
        name: trained.preprocessing.geometry(grids[0].shape[:3], grids[0].affine)  # type: ignore[arg-type]
        for name, grids in cases.items()
    }
    largest = max(plans.values(), key=lambda plan: math.prod(plan.shape))
    asking = _trial(trained, largest)
    held = resident_bytes() + (ROOM if len(cases) > 1 else 0)  # others wait to be read
    found = [_footprint(trained, name, cases[name], plan, held, asking) for name, plan in plans.items()]
    return sorted(found, key=lambda each: each.peak, reverse=True)


def require_memory(found: Sequence[Footprint], limit: int) -> None:
    """Raises: RunError, if a case would take more than `limit` bytes."""
    if found[0].peak > limit:
        raise RunError(
            f"{found[0]}; {readable(limit)} are allowed. Allow more, crop the volume, "
            "or train with a smaller training.patch_size"
        )


def _trial(trained: Trained, geometry: Geometry) -> int:
    """Bytes that a batch of two windows takes."""
    depth, height, width = trained.task.patch_size
    depth += 2 * getattr(trained.method, "depth_margin", 0)
    size = tuple(min(n, most) for n, most in zip(geometry.shape, (depth, height, 2 * width), strict=True))
    noise = np.random.default_rng(0).standard_normal((trained.task.in_channels, *size), np.float32)
    before, peak = resident_bytes(), PeakMemory()
    trained.answer(Sample("trial", noise, None, replace(geometry, shape=size)))  # type: ignore[arg-type]
    return max(0, peak.bytes() - before)


def _footprint(trained: Trained, name: str, grids: Sequence[Grid], plan: Geometry, held: int, asking: int) -> Footprint:
    channels, classes = trained.task.in_channels, trained.task.classes
    stored, worked_on = math.prod(plan.turned_shape), math.prod(plan.shape)
    image, label = 4 * channels * worked_on, worked_on * (1 if classes <= 256 else 2)
    file = sum(math.prod(grid.shape) * grid.voxel_bytes for grid in grids)
    thick = max(1.0, plan.turned_shape[0] / plan.shape[0])
    area = max(math.prod(plan.turned_shape[1:]), math.prod(plan.shape[1:]))
    passing = 40 * (min(SLAB, max(stored, worked_on)) + 2 * SPLINE_REACH * area * (plan.shape != plan.turned_shape))
    reading = max(file + 4 * channels * stored, 4 * channels * stored + image if plan.shape != plan.turned_shape else 0)
    resized = stored * (1 if classes <= 256 else 2) if plan.shape != plan.turned_shape else 0
    top = max([0, *trained.preprocessing.labels.values()])
    writing = label + resized + stored * (1 if top < 256 else 2 if top < 2**15 else 4)
    companions = trained.arm.companion_bytes(trained.method, plan.shape, plan.spacing)
    inference = image + label + _held_by_windows(trained, plan.shape) + asking + companions
    rest = held + SLACK
    return Footprint(
        name, plan.shape, rest + reading + int(passing * thick), rest + inference, rest + writing + int(passing * thick)
    )


def _held_by_windows(trained: Trained, shape: Sequence[int]) -> int:
    """Sums that wait for the next row of windows, a strip of windows twice, and a finished tile."""
    window = trained.task.patch_size
    depth, height, width = (max(n, w) for n, w in zip(shape, window, strict=True))
    starts = window_starts(depth, window[0], trained.overlap)
    steps = [after - before for before, after in pairwise(starts)]
    carried = 0 if getattr(trained.method, "reads_whole_depth", False) else window[0] - min(steps, default=window[0])
    strip = window[0] * window[1] * width
    return 4 * (trained.task.classes + 1) * (carried * height * width + 3 * strip) + 8 * strip
