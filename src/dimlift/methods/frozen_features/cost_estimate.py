"""Estimate of the time and disk space of feature extraction."""

import math
import time
from collections.abc import Iterable, Sequence

import torch

from dimlift.methods.frozen_features.extraction import FeatureExtractor, Spacing
from dimlift.methods.frozen_features.settings import PLANES
from dimlift.methods.preparation_cost import PreparationCost


def estimate_cost(
    extractor: FeatureExtractor, volumes: Iterable[tuple[Sequence[int], Spacing]], slices_timed: int = 2
) -> PreparationCost:
    """Estimate the cost of extraction from the time of a few slices of the first volume.

    Args:
        extractor: the extractor.
        volumes: ((depth, height, width), (z, y, x) spacing) of each volume.
        slices_timed: number of slices that are timed.
    """
    count, total_bytes, seconds, seconds_per_pixel = 0, 0, 0.0, None
    for size, spacing in volumes:
        count += 1
        grids = extractor.grids(size, spacing)
        total_bytes += sum(2 * kept * math.prod(grid) for kept, grid in zip(extractor.channels, grids, strict=True))
        for plane in extractor.settings.planes:
            axis = PLANES.index(plane)
            image_size = extractor.image_size(size, spacing, axis)
            if seconds_per_pixel is None:
                seconds_per_pixel = _time_per_pixel(extractor, image_size, slices_timed)
            seconds += seconds_per_pixel * image_size[0] * image_size[1] * size[axis]
    return PreparationCost(count, total_bytes, seconds)


def _time_per_pixel(extractor: FeatureExtractor, image_size: tuple[int, int], slices: int) -> float:
    images = torch.rand(slices, 1, *image_size, device=extractor.device)
    extractor.images_to_maps(images, image_size)  # the first call selects convolution algorithms
    start = time.perf_counter()
    extractor.images_to_maps(images, image_size)
    return (time.perf_counter() - start) / (slices * image_size[0] * image_size[1])
