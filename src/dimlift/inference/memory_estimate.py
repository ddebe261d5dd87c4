"""An estimate of the memory that segmenting a volume takes, made before it starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dimlift.data.chunks import CHUNK_VOXELS
from dimlift.data.preprocessing.resampling import SPLINE_REACH
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.read_cache import CACHE_BYTES
from dimlift.data.volume import Grid
from dimlift.errors import RunError
from dimlift.inference.streaming_window import window_starts
from dimlift.training.memory import PeakMemory, format_bytes, resident_bytes

if TYPE_CHECKING:
    from dimlift.inference.predictor import Predictor

SLACK_BYTES = 64 * 2**20
"""Margin for what is not counted: allocator overhead, compression, the command itself."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Resident bytes at the peak of each stage, including what the process held before.

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
        """The largest of the three."""
        return max(self.reading, self.inference, self.writing)

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.shape)
        return (
            f"{self.case} ({size} voxels): about {format_bytes(self.peak)} of memory at the peak "
            f"(reading {format_bytes(self.reading)}, network {format_bytes(self.inference)}, "
            f"writing {format_bytes(self.writing)})"
        )


def estimate_memory(predictor: "Predictor", cases: dict[str, list[Grid]]) -> list[MemoryEstimate]:
    """Estimate the memory of each case, the largest first.

    One batch of windows of the largest case is run on noise, to measure what the network needs.

    Args:
        cases: the grids of each case's files.
    """
    plans = {
        name: predictor.preprocessing.geometry(grids[0].shape[:3], grids[0].affine) for name, grids in cases.items()
    }
    largest = max(plans.values(), key=lambda plan: math.prod(plan.shape))
    network = _dry_run(predictor, largest)
    held = resident_bytes() + (CACHE_BYTES if len(cases) > 1 else 0)  # other cases wait in the cache
    found = [_estimate(predictor, name, cases[name], plan, held, network) for name, plan in plans.items()]
    return sorted(found, key=lambda each: each.peak, reverse=True)


def require_memory(estimates: Sequence[MemoryEstimate], limit: int) -> None:
    """Raises: RunError, if a case would take more than `limit` bytes."""
    if estimates[0].peak > limit:
        raise RunError(
            f"{estimates[0]}; {format_bytes(limit)} are allowed. Allow more, crop the volume, "
            "or train with a smaller training.patch_size"
        )


def _dry_run(predictor: "Predictor", geometry: Geometry) -> int:
    """Return the bytes that a batch of two windows takes."""
    depth, height, width = predictor.task.patch_size
    depth += 2 * (predictor.method.slice_margin or 0)
    size = tuple(min(n, most) for n, most in zip(geometry.shape, (depth, height, 2 * width), strict=True))
    noise = np.random.default_rng(0).standard_normal((predictor.task.in_channels, *size), np.float32)
    before, peak = resident_bytes(), PeakMemory()
    predictor.predict(Sample("dry run", noise, None, replace(geometry, shape=size)))  # type: ignore[arg-type]
    return max(0, peak.bytes() - before)


def _estimate(
    predictor: "Predictor", name: str, grids: Sequence[Grid], plan: Geometry, held: int, network: int
) -> MemoryEstimate:
    channels, classes = predictor.task.in_channels, predictor.task.num_classes
    resampled = plan.shape != plan.reoriented_shape
    stored, processed = math.prod(plan.reoriented_shape), math.prod(plan.shape)
    label_bytes = 1 if classes <= 256 else 2
    image, label = 4 * channels * processed, processed * label_bytes
    file = sum(math.prod(grid.shape) * grid.voxel_bytes for grid in grids)
    thick = max(1.0, plan.reoriented_shape[0] / plan.shape[0])
    area = max(math.prod(plan.reoriented_shape[1:]), math.prod(plan.shape[1:]))
    temporary = 40 * (min(CHUNK_VOXELS, max(stored, processed)) + 2 * SPLINE_REACH * area * resampled)
    reading = max(file + 4 * channels * stored, 4 * channels * stored + image if resampled else 0)
    resized = stored * label_bytes if resampled else 0
    top = max([0, *predictor.preprocessing.labels.values()])
    writing = label + resized + stored * (1 if top < 256 else 2 if top < 2**15 else 4)
    extra_inputs = predictor.arm.extra_input_bytes(predictor.method, plan.shape, plan.spacing)
    inference = image + label + _window_bytes(predictor, plan.shape) + network + extra_inputs
    rest, temporary_bytes = held + SLACK_BYTES, int(temporary * thick)
    return MemoryEstimate(
        name, plan.shape, rest + reading + temporary_bytes, rest + inference, rest + writing + temporary_bytes
    )


def _window_bytes(predictor: "Predictor", shape: Sequence[int]) -> int:
    """Return the bytes of sums that wait for the next row of windows, of a strip of windows twice, and of a tile."""
    window = predictor.task.patch_size
    depth, height, width = (max(n, w) for n, w in zip(shape, window, strict=True))
    starts = window_starts(depth, window[0], predictor.overlap)
    steps = [after - before for before, after in pairwise(starts)]
    carried = 0 if predictor.method.reads_whole_depth else window[0] - min(steps, default=window[0])
    strip = window[0] * window[1] * width
    return 4 * (predictor.task.num_classes + 1) * (carried * height * width + 3 * strip) + 8 * strip
