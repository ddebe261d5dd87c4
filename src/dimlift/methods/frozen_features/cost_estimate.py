"""What extraction will cost, said before it starts."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from dimlift.methods.frozen_features.extraction import Extractor, Spacing
from dimlift.methods.frozen_features.settings import PLANES


@dataclass(frozen=True)
class Estimate:
    """Cost of extracting the features of some volumes.

    Attributes:
        volumes: how many.
        bytes: they will take on disk.
        seconds: they will take on this machine, from one slice timed now.
    """

    volumes: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"features of {self.volumes} volumes: about {_readable(self.bytes)} on disk, "
            f"{self.seconds:.0f} s to extract"
        )


def estimate(extractor: Extractor, volumes: Iterable[tuple[Sequence[int], Spacing]], slices_timed: int = 2) -> Estimate:
    """Cost of volumes given as ((depth, height, width), (z, y, x) spacing); times a few slices of the first."""
    count, total_bytes, seconds, rate = 0, 0, 0.0, None
    for size, spacing in volumes:
        count += 1
        grids = extractor.grids(size, spacing)
        total_bytes += sum(2 * kept * math.prod(grid) for kept, grid in zip(extractor.channels, grids, strict=True))
        for plane in extractor.settings.planes:
            axis = PLANES.index(plane)
            picture = extractor.picture_size(size, spacing, axis)
            if rate is None:
                rate = _seconds_per_pixel(extractor, picture, slices_timed)
            seconds += rate * picture[0] * picture[1] * size[axis]
    return Estimate(count, total_bytes, seconds)


def _seconds_per_pixel(extractor: Extractor, picture: tuple[int, int], slices: int) -> float:
    pictures = torch.rand(slices, 1, *picture, device=extractor.device)
    extractor.pictures_to_maps(pictures, picture)  # the first run plans its convolutions
    start = time.perf_counter()
    extractor.pictures_to_maps(pictures, picture)
    return (time.perf_counter() - start) / (slices * picture[0] * picture[1])


def _readable(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
