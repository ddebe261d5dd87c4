"""Where and how strongly a network's maps answer: measured once, so that features lie where they belong.

A feature voxel of stride s is commonly taken to sit in the middle of the s pixels it covers. Padding shifts it: by
(s - 1) / 2 pixels one way in networks padded evenly (ResNet), as far the other way in those padded at the end (the
TensorFlow family), and training moves the weight of the kernels on top of that. Half a feature voxel at stride 16 is
a structure of its own in a small volume. So dots are shown, and the answers located.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ConfigError
from dimlift.methods.frozen_features.backbone import SliceNetwork

SIDE = 192
DOTS = 16
NEGLIGIBLE = 0.1  # of a feature voxel: less than the measurement can tell from nothing


@dataclass(frozen=True)
class MapFacts:
    """One map of a network.

    Attributes:
        stage: index of the map.
        channels: channels of it.
        stride: pixels per feature voxel.
        shift: (y, x) pixels by which an answer lies before the thing it answers to, were feature voxels in the
            middle of the pixels they cover.
        scale: standard deviation of the answers to smooth noise.
    """

    stage: int
    channels: int
    stride: int
    shift: tuple[float, float]
    scale: float


def measure(
    network: SliceNetwork, stages: tuple[int, ...] | None, device: torch.device | str = "cpu"
) -> list[MapFacts]:
    """Facts of the chosen maps, from 16 dots on a smooth noise of fixed seed.

    Raises:
        ConfigError: if the network has no such stage.
    """
    side = -(-SIDE // network.multiple) * network.multiple
    noise, dots, places = (each.to(device) for each in _pictures(side))
    without, with_dot = network(noise), network(noise + dots)
    chosen = tuple(range(network.first_stage(len(without)), len(without))) if stages is None else stages
    missing = [stage for stage in chosen if not 0 <= stage < len(without)]
    if missing:
        raise ConfigError(f"the network has stages 0 to {len(without) - 1}, got {missing}")
    facts = []
    for stage in chosen:
        plain, dotted = without[stage].float(), with_dot[stage].float()
        stride = side // plain.shape[-1]
        scale = float(plain.std()) or 1.0
        found = _locate((dotted - plain).div(scale).square().mean(dim=1), stride)
        shift = (places - found).mean(dim=0)
        facts.append(MapFacts(stage, plain.shape[1], stride, (float(shift[0]), float(shift[1])), scale))
    return facts


def cover(
    maps: Float[Tensor, "batch channels h w"], facts: MapFacts, picture: tuple[int, int]
) -> Float[Tensor, "batch channels h2 w2"]:
    """Maps over exactly the `picture` (rows, columns), without the padding behind it and the shift of the network.

    Read bicubically, which blurs less than linear reading; nothing is done where the map lies right already.
    """
    steps = [shift if abs(shift) >= NEGLIGIBLE * facts.stride else 0.0 for shift in facts.shift]
    padded = [n * facts.stride for n in maps.shape[2:]]
    if tuple(padded) == picture and not any(steps):
        return maps
    axes = []
    for side, whole, step in zip(picture, padded, steps, strict=True):
        count = -(-side // facts.stride)
        places = (torch.arange(count, device=maps.device) + 0.5) * side / count
        axes.append(2 * (places - max(-facts.stride, min(facts.stride, step))) / whole - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([x, y], dim=-1).expand(len(maps), -1, -1, -1).to(maps)
    return F.grid_sample(maps, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _pictures(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth noise around mid-grey (1, 1, S, S), bright dots (N, 1, S, S), and where they are (N, 2)."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, side // 8, side // 8, generator=draw) * 0.1
    noise = F.interpolate(noise, (side, side), mode="bicubic", align_corners=False) + 0.4
    # Spread over two periods of the coarsest usual stride (32), so that where a dot falls in its block averages out.
    steps = (torch.arange(DOTS) + torch.rand(2, DOTS, generator=draw)) / DOTS
    order = torch.randperm(DOTS, generator=draw)
    places = side / 2 + 64 * (torch.stack([steps[0], steps[1][order]], dim=1) - 0.5)
    centres = torch.arange(side) + 0.5
    across = torch.exp(-0.5 * ((centres - places[..., None]) / 2.0).square())  # (N, 2, S)
    return noise, 0.5 * (across[:, 0, :, None] * across[:, 1, None, :])[:, None], places


def _locate(energy: Float[Tensor, "dots h w"], stride: int) -> Float[Tensor, "dots 2"]:
    """Centre of mass (y, x) in pixels of each answer; what is below a tenth of its peak is background."""
    energy = energy * (energy > 0.1 * energy.amax((1, 2), keepdim=True))
    total = energy.sum((1, 2)).clamp_min(1e-30)
    places = (torch.arange(energy.shape[-1], device=energy.device) + 0.5) * stride
    return torch.stack([(energy.sum(2) * places).sum(1) / total, (energy.sum(1) * places).sum(1) / total], dim=1)
