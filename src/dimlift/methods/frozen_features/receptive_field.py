"""Measured position and scale of a network's feature maps, so that features are placed correctly in the volume.

A feature voxel of stride s is commonly assumed to be centred on its s pixels. Padding shifts it: by (s - 1) / 2 pixels
in one direction with symmetric padding (ResNet), by as much in the other with padding at the end (TensorFlow models),
and training shifts the weight of the kernels further. Half a feature voxel at stride 16 is a structure of its own in a
small volume. The shift is therefore measured, from the response to dots at known positions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ConfigError
from dimlift.methods.frozen_features.backbone import SliceBackbone

SIDE = 192
DOTS = 16
NEGLIGIBLE = 0.1  # of a feature voxel: the resolution of the measurement


@dataclass(frozen=True)
class MapGeometry:
    """Measured properties of one feature map.

    Attributes:
        stage: index of the map.
        channels: number of channels.
        stride: pixels per feature voxel.
        shift: (y, x) offset in pixels of a response before its cause, relative to feature voxels centred on their
            pixels.
        scale: standard deviation of the response to smooth noise.
    """

    stage: int
    channels: int
    stride: int
    shift: tuple[float, float]
    scale: float


def measure_maps(
    network: SliceBackbone, stages: tuple[int, ...] | None, device: torch.device | str = "cpu"
) -> list[MapGeometry]:
    """Measure the selected maps with 16 dots on smooth noise of fixed seed.

    Raises:
        ConfigError: if the network has no such stage.
    """
    side = -(-SIDE // network.multiple) * network.multiple
    noise, dots, positions = (each.to(device) for each in _probe_images(side))
    without, with_dot = network(noise), network(noise + dots)
    chosen = tuple(range(network.first_stage(len(without)), len(without))) if stages is None else stages
    missing = [stage for stage in chosen if not 0 <= stage < len(without)]
    if missing:
        raise ConfigError(f"the network has stages 0 to {len(without) - 1}, got {missing}")
    strides = _strides(network, noise, [each.shape[-1] for each in without])
    geometry = []
    for stage in chosen:
        plain, dotted = without[stage].float(), with_dot[stage].float()
        stride = strides[stage]
        scale = float(plain.std()) or 1.0
        located = _centre_of_mass((dotted - plain).div(scale).square().mean(dim=1), stride)
        shift = (positions - located).mean(dim=0)
        geometry.append(MapGeometry(stage, plain.shape[1], stride, (float(shift[0]), float(shift[1])), scale))
    return geometry


def _strides(network: SliceBackbone, noise: Tensor, cells: list[int]) -> list[int]:
    """Return the pixels per cell of each map.

    Convolutions without padding leave a border, so that cells do not fill the image. An image of twice the side then
    shows by how many cells a map grows.
    """
    side = noise.shape[-1]
    if all(side % count == 0 for count in cells):
        return [side // count for count in cells]
    larger = network(F.pad(noise, (0, side, 0, side)))
    return [max(1, round(side / (each.shape[-1] - count))) for each, count in zip(larger, cells, strict=True)]


def align_maps(
    maps: Float[Tensor, "batch channels h w"], geometry: MapGeometry, image_size: tuple[int, int]
) -> Float[Tensor, "batch channels h2 w2"]:
    """Resample maps to cover exactly an image, without the padding at its end and the shift of the network.

    Sampling is bicubic, which blurs less than linear sampling; maps that are aligned already are returned unchanged.

    Args:
        maps: maps of a padded image.
        geometry: measured properties of the map.
        image_size: (rows, columns) of the image without padding.
    """
    shifts = [shift if abs(shift) >= NEGLIGIBLE * geometry.stride else 0.0 for shift in geometry.shift]
    padded_size = [n * geometry.stride for n in maps.shape[2:]]
    if tuple(padded_size) == image_size and not any(shifts):
        return maps
    axes = []
    for side, padded, shift in zip(image_size, padded_size, shifts, strict=True):
        count = -(-side // geometry.stride)
        positions = (torch.arange(count, device=maps.device) + 0.5) * side / count
        axes.append(2 * (positions - max(-geometry.stride, min(geometry.stride, shift))) / padded - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([x, y], dim=-1).expand(len(maps), -1, -1, -1).to(maps)
    return F.grid_sample(maps, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _probe_images(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return smooth noise around mid-grey (1, 1, S, S), bright dots (N, 1, S, S), and their positions (N, 2)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, side // 8, side // 8, generator=generator) * 0.1
    noise = F.interpolate(noise, (side, side), mode="bicubic", align_corners=False) + 0.4
    # spread over two periods of the coarsest common stride (32), so that positions within a block average out
    steps = (torch.arange(DOTS) + torch.rand(2, DOTS, generator=generator)) / DOTS
    order = torch.randperm(DOTS, generator=generator)
    positions = side / 2 + 64 * (torch.stack([steps[0], steps[1][order]], dim=1) - 0.5)
    centres = torch.arange(side) + 0.5
    across = torch.exp(-0.5 * ((centres - positions[..., None]) / 2.0).square())  # (N, 2, S)
    return noise, 0.5 * (across[:, 0, :, None] * across[:, 1, None, :])[:, None], positions


def _centre_of_mass(energy: Float[Tensor, "dots h w"], stride: int) -> Float[Tensor, "dots 2"]:
    """Return the centre (y, x) in pixels of each response; values below a tenth of the peak are background."""
    energy = energy * (energy > 0.1 * energy.amax((1, 2), keepdim=True))
    total = energy.sum((1, 2)).clamp_min(1e-30)
    positions = (torch.arange(energy.shape[-1], device=energy.device) + 0.5) * stride
    return torch.stack([(energy.sum(2) * positions).sum(1) / total, (energy.sum(1) * positions).sum(1) / total], dim=1)
