"""A trained network over a whole volume: windows with Gaussian blending, features sampled for each window."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from dimlift.inference.streaming_window import Row, Tile, adjoining_rows, overlapping_rows, sweep
from dimlift.methods.frozen_features.sampling import sample_features, window_grid

WINDOWS_AT_ONCE = 2


@torch.no_grad()
def segment(
    method: nn.Module,
    image: Float[Tensor, "channels depth height width"],
    *,
    window: tuple[int, int, int],
    overlap: float = 0.5,
    features: Sequence[Float[Tensor, "components d h w"]] | None = None,
    feature_stride: int = 1,
    bfloat16: bool = False,
) -> Iterator[Tile]:
    """Class scores of every voxel, tile by tile, so that they are never all in memory.

    A volume smaller than the window is padded to it, as training patches are: the image with its minimum.

    Args:
        method: `forward(image, features)` gives logits at the resolution of its input. One with `reads_whole_depth`
            is shown `depth_margin` slices on either side of those it is asked about, where there are any.
        features: coarse maps, each covering the whole volume; every window is given them on its own voxels,
            or on blocks of `feature_stride` voxels along each axis.

    Raises:
        TypeError: if the method gives anything but one tensor.
    """
    method.eval()
    device = next(method.parameters()).device
    size = image.shape[1:]
    whole_depth = getattr(method, "reads_whole_depth", False)
    wanted = (1 if whole_depth else window[0], *window[1:])
    margins = [max(0, most - found) for most, found in zip(wanted, size, strict=True)]
    padded = _padded(image, margins)
    depth, height, width = padded.shape[1:]
    rows = (
        adjoining_rows(depth, window[0], getattr(method, "depth_margin", depth))
        if whole_depth
        else overlapping_rows(depth, window[0], overlap)
    )
    coarse = None if features is None else [each.to(device, torch.float32) for each in features]

    def ask(row: Row, top: int, lefts: Sequence[int]) -> Tensor:
        parts = [padded[:, row.read, top : top + window[1], left : left + window[2]] for left in lefts]
        patches = torch.stack(parts).to(device, memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            if coarse is None:
                logits = method(patches)
            else:
                places = [(row.read.start, top, left) for left in lefts]
                starts = [[at - m // 2 for at, m in zip(place, margins, strict=True)] for place in places]
                grids = [window_grid(size, start, patches.shape[2:], device).movedim(-1, 0) for start in starts]
                spread = F.avg_pool3d(torch.stack(grids), feature_stride).movedim(1, -1)
                logits = method(patches, torch.stack([sample_features(coarse, grid) for grid in spread]))
        if not isinstance(logits, Tensor):
            raise TypeError(f"{type(method).__name__} gives {type(logits).__name__}, one tensor of logits is wanted")
        skipped = row.answer.start - row.read.start
        return logits[:, :, skipped : skipped + row.answer.stop - row.answer.start].to("cpu", torch.float32)

    for tile in sweep(ask, (depth, height, width), rows, window[1:], overlap, WINDOWS_AT_ONCE):
        yield from _inside(tile, margins, size)


def labels_of(tiles: Iterable[Tile], size: Sequence[int]) -> NDArray[np.integer[Any]]:
    """Class of every voxel (depth, height, width), in a byte each where they are at most 256."""
    labels: NDArray[Any] | None = None
    for tile in tiles:
        if labels is None:
            labels = np.zeros(tuple(size), np.uint8 if len(tile.logits) <= 256 else np.int16)
        labels[tile.depth, tile.height] = tile.logits.argmax(dim=0).numpy()
    if labels is None:
        raise ValueError("no tile to take labels from")
    return labels


@torch.inference_mode()
def classify(
    method: nn.Module,
    image: Float[Tensor, "channels depth height width"],
    *,
    smallest: tuple[int, int, int],
    bfloat16: bool = False,
) -> Float[Tensor, " classes"]:
    """Logits of a whole volume, padded with its minimum where it is smaller than a training patch."""
    method.eval()
    device = next(method.parameters()).device
    margins = [max(0, wanted - found) for wanted, found in zip(smallest, image.shape[1:], strict=True)]
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        return method(_padded(image, margins)[None].to(device))[0].float().cpu()


def _padded(image: Tensor, margins: Sequence[int]) -> Tensor:
    """The image with its minimum around it; itself where there is nothing to add."""
    if not any(margins):
        return image
    padding = [side for margin in reversed(margins) for side in (margin // 2, margin - margin // 2)]
    # a missing sequence is 0 throughout, its padding too
    present = image.flatten(1).ne(0).any(dim=1)[:, None, None, None]
    return F.pad(image, padding, value=float(image.min())) * present


def _inside(tile: Tile, margins: Sequence[int], size: Sequence[int]) -> Iterator[Tile]:
    """The part of a tile that lies in the volume, if any does."""
    places, cuts = [], []
    for place, margin, full in zip((tile.depth, tile.height), margins, size, strict=False):
        first, last = max(0, place.start - margin // 2), min(full, place.stop - margin // 2)
        places.append(slice(first, last))
        cuts.append(slice(first + margin // 2 - place.start, last + margin // 2 - place.start))
    if all(place.start < place.stop for place in places):
        left = margins[2] // 2
        yield Tile(places[0], places[1], tile.logits[:, cuts[0], cuts[1], left : left + size[2]])
