"""A network over a whole volume: Gaussian-blended windows, with features sampled for each window."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dimlift.inference.coverage import Coverage
from dimlift.inference.finite_outputs import require_finite
from dimlift.inference.streaming_window import (
    OutputTile,
    WindowRow,
    adjoining_rows,
    overlapping_rows,
    stream_windows,
)
from dimlift.methods.frozen_features.sampling import sample_feature_maps, window_grid
from dimlift.methods.method import Method

WINDOWS_PER_BATCH = 2


@torch.no_grad()
def segment_volume(
    method: Method,
    image: Float[Tensor, "channels depth height width"],
    *,
    window: tuple[int, int, int],
    overlap: float = 0.5,
    features: Sequence[Float[Tensor, "components d h w"]] | None = None,
    feature_stride: int = 1,
    bfloat16: bool = False,
    case: str = "",
    coverage: Coverage | None = None,
) -> Iterator[OutputTile]:
    """Yield the logits of every voxel, tile by tile, so that they are never all in memory.

    A volume smaller than the window is padded to it as training patches are, with its minimum.

    Args:
        method: `forward(image, features)` returns logits at the resolution of its input. One with `reads_whole_depth`
            receives `slice_margin` slices on either side of those it predicts, where they exist.
        features: coarse maps over the whole volume; every window receives them on its own voxels, or on blocks of
            `feature_stride` voxels along each axis.
        case: name of the case, for messages.
        coverage: counts windows and predicted voxels.

    Raises:
        RunError: if a logit is NaN or infinite.
        TypeError: if the method returns anything but one tensor.
    """
    method.eval()
    device = next(method.parameters()).device
    size = image.shape[1:]
    whole_depth = method.reads_whole_depth
    smallest = (1 if whole_depth else window[0], *window[1:])
    margins = [max(0, most - found) for most, found in zip(smallest, size, strict=True)]
    padded = pad_volume(image, margins)
    depth, height, width = padded.shape[1:]
    rows = (
        adjoining_rows(depth, window[0], depth if method.slice_margin is None else method.slice_margin)
        if whole_depth
        else overlapping_rows(depth, window[0], overlap)
    )
    if coverage is not None:
        coverage.total = math.prod(size)
    coarse = None if features is None else [each.to(device, torch.float32) for each in features]

    def predict_fn(row: WindowRow, top: int, lefts: Sequence[int]) -> Tensor:
        parts = [padded[:, row.read, top : top + window[1], left : left + window[2]] for left in lefts]
        patches = torch.stack(parts).to(device, memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            if coarse is None:
                logits = method(patches)
            else:
                corners = [(row.read.start, top, left) for left in lefts]
                starts = [[first - m // 2 for first, m in zip(corner, margins, strict=True)] for corner in corners]
                grids = [window_grid(size, start, patches.shape[2:], device).movedim(-1, 0) for start in starts]
                blocks = F.avg_pool3d(torch.stack(grids), feature_stride).movedim(1, -1)
                logits = method(patches, torch.stack([sample_feature_maps(coarse, grid) for grid in blocks]))
        if not isinstance(logits, Tensor):
            raise TypeError(f"{type(method).__name__} returns {type(logits).__name__}, expected one tensor of logits")
        require_finite(logits, case, f"window at depth {row.read.start}, height {top}, width {lefts[0]}")
        if coverage is not None:
            coverage.windows += len(lefts)
        skipped = row.write.start - row.read.start
        return logits[:, :, skipped : skipped + row.write.stop - row.write.start].to("cpu", torch.float32)

    for tile in stream_windows(predict_fn, (depth, height, width), rows, window[1:], overlap, WINDOWS_PER_BATCH):
        for part in _crop_padding(tile, margins, size):
            if coverage is not None:  # without a window a voxel would be 0 / 0
                coverage.predicted += int(torch.isfinite(part.logits[0]).sum())
            yield part


def labels_of_tiles(tiles: Iterable[OutputTile], size: Sequence[int]) -> NDArray[np.integer[Any]]:
    """Return the class of every voxel (depth, height, width), as one byte each for up to 256 classes."""
    labels: NDArray[Any] | None = None
    for tile in tiles:
        if labels is None:
            labels = np.zeros(tuple(size), np.uint8 if len(tile.logits) <= 256 else np.int16)
        labels[tile.depth, tile.height] = tile.logits.argmax(dim=0).numpy()
    if labels is None:
        raise ValueError("no tile to take labels from")
    return labels


def pad_volume(image: Tensor, margins: Sequence[int]) -> Tensor:
    """Return the image with its minimum around it; the image itself where there is nothing to add."""
    if not any(margins):
        return image
    padding = [side for margin in reversed(margins) for side in (margin // 2, margin - margin // 2)]
    # a missing channel is 0 throughout, its padding too
    present = image.flatten(1).ne(0).any(dim=1)[:, None, None, None]
    return F.pad(image, padding, value=float(image.min())) * present


def _crop_padding(tile: OutputTile, margins: Sequence[int], size: Sequence[int]) -> Iterator[OutputTile]:
    """Yield the part of a tile that lies in the volume, if any does."""
    inside, cuts = [], []
    for extent, margin, full in zip((tile.depth, tile.height), margins, size, strict=False):
        first, last = max(0, extent.start - margin // 2), min(full, extent.stop - margin // 2)
        inside.append(slice(first, last))
        cuts.append(slice(first + margin // 2 - extent.start, last + margin // 2 - extent.start))
    if all(extent.start < extent.stop for extent in inside):
        left = margins[2] // 2
        yield OutputTile(inside[0], inside[1], tile.logits[:, cuts[0], cuts[1], left : left + size[2]])
