"""SR-UNet: a residual U-Net over occupied voxels (Choy et al., 2019, https://arxiv.org/abs/1904.08755: Res16UNet).

The neighbourhoods of each level are computed once per batch and shared by all layers of the level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.ops.sparse_conv import Rulebook, sparse_conv, strided_rulebook, submanifold_rulebook

LEVELS = 4


class Pyramid(NamedTuple):
    """The occupied voxels of a batch at every level and the neighbourhoods between them.

    Attributes:
        stem: 5x5x5 neighbours at the finest level.
        neighbours: 3x3x3 neighbours of each level, finest first.
        down: from each level to the next coarser one.
        counts: number of voxels of each level.
    """

    stem: Rulebook
    neighbours: tuple[Rulebook, ...]
    down: tuple[Rulebook, ...]
    counts: tuple[int, ...]


def build_pyramid(coordinates: Int[Tensor, "voxels 4"], levels: int = LEVELS) -> Pyramid:
    """Compute the neighbourhoods of all levels for sorted (batch, x, y, z)."""
    neighbours, down, counts = [submanifold_rulebook(coordinates)], [], [len(coordinates)]
    stem = submanifold_rulebook(coordinates, 5)
    for _ in range(levels):
        rules, coordinates = strided_rulebook(coordinates)
        down.append(rules)
        neighbours.append(submanifold_rulebook(coordinates))
        counts.append(len(coordinates))
    return Pyramid(stem, tuple(neighbours), tuple(down), tuple(counts))


class SparseConv(nn.Module):
    """Sparse convolution of `taps` kernel positions, without bias; the rulebook is passed at each call."""

    def __init__(self, in_channels: int, out_channels: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, in_channels, out_channels))
        nn.init.normal_(self.weight, std=(2 / (taps * out_channels)) ** 0.5)  # He et al., fan out

    def forward(self, features: Float[Tensor, "voxels inputs"], rules: Rulebook) -> Float[Tensor, "out outputs"]:
        """Return the features of the output voxels."""
        return sparse_conv(features, self.weight.to(features.dtype), rules)


class SparseBlock(nn.Module):
    """Residual block of two 3x3x3 sparse convolutions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first, self.first_norm = SparseConv(in_channels, out_channels, 27), nn.BatchNorm1d(out_channels)
        self.second, self.second_norm = SparseConv(out_channels, out_channels, 27), nn.BatchNorm1d(out_channels)
        shortcut = nn.Sequential(nn.Linear(in_channels, out_channels, bias=False), nn.BatchNorm1d(out_channels))
        self.shortcut = nn.Identity() if in_channels == out_channels else shortcut

    def forward(self, features: Float[Tensor, "voxels inputs"], rules: Rulebook) -> Float[Tensor, "voxels outputs"]:
        """Return features of the same voxels."""
        hidden = torch.relu(self.first_norm(self.first(features, rules)))
        return torch.relu(self.second_norm(self.second(hidden, rules)) + self.shortcut(features))


class SparseUNet(nn.Module):
    """U-Net that returns a feature vector for every occupied voxel.

    Args:
        in_channels: channels of the voxels.
        out_channels: channels of the output of a last linear layer; None returns the decoder's features.
        widths: channels of four encoder and four decoder stages.
        blocks: residual blocks of each stage.
        stem: channels of the first layer.

    Attributes:
        channels: channels of the decoder's features.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None,
        widths: Sequence[int],
        blocks: Sequence[int],
        stem: int = 32,
    ) -> None:
        super().__init__()
        if len(widths) != 2 * LEVELS or len(blocks) != 2 * LEVELS:
            raise ShapeError(f"expected {2 * LEVELS} widths and numbers of blocks, got {widths} and {blocks}")
        self.stem, self.stem_norm = SparseConv(in_channels, stem, 125), nn.BatchNorm1d(stem)
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_norm, self.stages = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width, skips = stem, [stem, *widths[: LEVELS - 1]]
        for level in range(LEVELS):
            self.down.append(SparseConv(width, width, 8))
            self.down_norm.append(nn.BatchNorm1d(width))
            self.stages.append(_stage(width, widths[level], blocks[level]))
            width = widths[level]
        for step in range(LEVELS):
            up_width = widths[LEVELS + step]
            self.up.append(SparseConv(width, up_width, 8))
            self.up_norm.append(nn.BatchNorm1d(up_width))
            self.stages.append(_stage(up_width + skips[-1 - step], up_width, blocks[LEVELS + step]))
            width = up_width
        self.channels = width
        self.head = nn.Identity() if out_channels is None else nn.Linear(width, out_channels)

    def forward(
        self, features: Float[Tensor, "voxels channels"], pyramid: Pyramid
    ) -> Float[Tensor, "voxels out_channels"]:
        """Return the output of every voxel.

        Args:
            pyramid: `build_pyramid(coordinates)` of the voxels.
        """
        if len(features) != pyramid.counts[0]:
            raise ShapeError(f"{len(features)} feature rows for a pyramid of {pyramid.counts[0]} voxels; pass one each")
        features = torch.relu(self.stem_norm(self.stem(features, pyramid.stem)))
        skips = []
        for level in range(LEVELS):
            skips.append(features)
            features = torch.relu(self.down_norm[level](self.down[level](features, pyramid.down[level])))
            features = _run_stage(self.stages[level], features, pyramid.neighbours[level + 1])
        for step in range(LEVELS):
            level = LEVELS - 1 - step
            up = pyramid.down[level].transposed(pyramid.counts[level])
            features = torch.relu(self.up_norm[step](self.up[step](features, up)))
            joined = torch.cat([features, skips[level]], dim=1)
            features = _run_stage(self.stages[LEVELS + step], joined, pyramid.neighbours[level])
        return self.head(features)


def sr_unet18(in_channels: int, out_channels: int | None, width_multiplier: float = 1.0) -> SparseUNet:
    """Build the network of two blocks per stage (Res16UNet18A); `width_multiplier` scales every width."""
    widths = [max(8, round(width * width_multiplier)) for width in (32, 64, 128, 256, 128, 128, 96, 96)]
    return SparseUNet(in_channels, out_channels, widths, (2,) * 8, max(8, round(32 * width_multiplier)))


def sr_unet34(in_channels: int, out_channels: int | None, width_multiplier: float = 1.0) -> SparseUNet:
    """Build the deeper network of PPKT and PointContrast (Res16UNet34C)."""
    widths = [max(8, round(width * width_multiplier)) for width in (32, 64, 128, 256, 256, 128, 96, 96)]
    blocks = (2, 3, 4, 6, 2, 2, 2, 2)
    return SparseUNet(in_channels, out_channels, widths, blocks, max(8, round(32 * width_multiplier)))


def is_encoder_weight(name: str) -> bool:
    """Return whether a weight of `SparseUNet` belongs to the encoder, by its name."""
    part, _, rest = name.partition(".")
    return part in ("stem", "stem_norm", "down", "down_norm") or (
        part == "stages" and int(rest.partition(".")[0]) < LEVELS
    )


def _stage(in_channels: int, out_channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(SparseBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(count))


def _run_stage(blocks: nn.Module, features: Tensor, rules: Rulebook) -> Tensor:
    for block in blocks.children():
        features = block(features, rules)
    return features
