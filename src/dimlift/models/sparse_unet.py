"""SR-UNet: a residual U-Net over occupied voxels (Choy et al., 2019, https://arxiv.org/abs/1904.08755: Res16UNet).

Rules of who neighbours whom are made once for each level of a batch and shared by all its layers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.ops.sparse_conv import Rulebook, sparse_convolution, strided, submanifold

LEVELS = 4


class Pyramid(NamedTuple):
    """The occupied voxels of a batch at every level, and the rules between them.

    Attributes:
        stem: 5x5x5 neighbours at the finest level.
        beside: 3x3x3 neighbours of each level, finest first.
        down: from each level to the next coarser one.
        counts: voxels of each level.
    """

    stem: Rulebook
    beside: tuple[Rulebook, ...]
    down: tuple[Rulebook, ...]
    counts: tuple[int, ...]


def pyramid(coordinates: Int[Tensor, "voxels 4"], levels: int = LEVELS) -> Pyramid:
    """Rules of all levels for sorted (batch, x, y, z)."""
    beside, down, counts, stem = [submanifold(coordinates)], [], [len(coordinates)], submanifold(coordinates, 5)
    for _ in range(levels):
        rules, coordinates = strided(coordinates)
        down.append(rules)
        beside.append(submanifold(coordinates))
        counts.append(len(coordinates))
    return Pyramid(stem, tuple(beside), tuple(down), tuple(counts))


class SparseConvolution(nn.Module):
    """A kernel of `taps` matrices, without bias; it is told at each call which voxels it connects."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, inputs, outputs))
        nn.init.normal_(self.weight, std=(2 / (taps * outputs)) ** 0.5)  # He et al., fan out

    def forward(self, features: Float[Tensor, "voxels inputs"], rules: Rulebook) -> Float[Tensor, "out outputs"]:
        """Features of the voxels the rules lead to."""
        return sparse_convolution(features, self.weight.to(features.dtype), rules)


class SparseBlock(nn.Module):
    """Two 3x3x3 convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.first_norm = SparseConvolution(inputs, outputs, 27), nn.BatchNorm1d(outputs)
        self.second, self.second_norm = SparseConvolution(outputs, outputs, 27), nn.BatchNorm1d(outputs)
        around = nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))
        self.around = nn.Identity() if inputs == outputs else around

    def forward(self, features: Float[Tensor, "voxels inputs"], rules: Rulebook) -> Float[Tensor, "voxels outputs"]:
        """Features of the same voxels."""
        found = torch.relu(self.first_norm(self.first(features, rules)))
        return torch.relu(self.second_norm(self.second(found, rules)) + self.around(features))


class SparseUNet(nn.Module):
    """A feature vector for every occupied voxel.

    Args:
        in_channels: of the voxels.
        out_channels: of the answer; the last layer is linear. None hands out the decoder's features.
        widths: channels of four coarser and four finer stages.
        blocks: residual blocks of each stage.
        stem: channels of the first layer.

    Attributes:
        channels: of the decoder's features.
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
            raise ShapeError(f"{2 * LEVELS} widths and numbers of blocks are wanted, got {widths} and {blocks}")
        self.stem, self.stem_norm = SparseConvolution(in_channels, stem, 125), nn.BatchNorm1d(stem)
        self.shrink, self.shrink_norm = nn.ModuleList(), nn.ModuleList()
        self.grow, self.grow_norm, self.stages = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width, skips = stem, [stem, *widths[: LEVELS - 1]]
        for level in range(LEVELS):
            self.shrink.append(SparseConvolution(width, width, 8))
            self.shrink_norm.append(nn.BatchNorm1d(width))
            self.stages.append(_stage(width, widths[level], blocks[level]))
            width = widths[level]
        for step in range(LEVELS):
            wide = widths[LEVELS + step]
            self.grow.append(SparseConvolution(width, wide, 8))
            self.grow_norm.append(nn.BatchNorm1d(wide))
            self.stages.append(_stage(wide + skips[-1 - step], wide, blocks[LEVELS + step]))
            width = wide
        self.channels = width
        self.head = nn.Identity() if out_channels is None else nn.Linear(width, out_channels)

    def forward(
        self, features: Float[Tensor, "voxels channels"], rules: Pyramid
    ) -> Float[Tensor, "voxels out_channels"]:
        """The answer for every voxel.

        Args:
            rules: `pyramid(coordinates)` of the voxels.
        """
        if len(features) != rules.counts[0]:
            raise ShapeError(f"features of {len(features)} voxels with rules for {rules.counts[0]}; make both of one")
        found = torch.relu(self.stem_norm(self.stem(features, rules.stem)))
        kept = []
        for level in range(LEVELS):
            kept.append(found)
            found = torch.relu(self.shrink_norm[level](self.shrink[level](found, rules.down[level])))
            found = _through(self.stages[level], found, rules.beside[level + 1])
        for step in range(LEVELS):
            level = LEVELS - 1 - step
            back = rules.down[level].reversed(rules.counts[level])
            found = torch.relu(self.grow_norm[step](self.grow[step](found, back)))
            found = _through(self.stages[LEVELS + step], torch.cat([found, kept[level]], dim=1), rules.beside[level])
        return self.head(found)


def sr_unet18(in_channels: int, out_channels: int | None, share: float = 1.0) -> SparseUNet:
    """Two blocks a stage (Res16UNet18A). `share` scales every width, for processors."""
    widths = [max(8, round(width * share)) for width in (32, 64, 128, 256, 128, 128, 96, 96)]
    return SparseUNet(in_channels, out_channels, widths, (2,) * 8, max(8, round(32 * share)))


def sr_unet34(in_channels: int, out_channels: int | None, share: float = 1.0) -> SparseUNet:
    """The deeper one of PPKT and PointContrast (Res16UNet34C)."""
    widths = [max(8, round(width * share)) for width in (32, 64, 128, 256, 256, 128, 96, 96)]
    return SparseUNet(in_channels, out_channels, widths, (2, 3, 4, 6, 2, 2, 2, 2), max(8, round(32 * share)))


def is_of_encoder(weight: str) -> bool:
    """Whether a weight of `SparseUNet` belongs to the way down, by its name."""
    part, _, rest = weight.partition(".")
    return part in ("stem", "stem_norm", "shrink", "shrink_norm") or (
        part == "stages" and int(rest.partition(".")[0]) < LEVELS
    )


def _stage(inputs: int, outputs: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(SparseBlock(inputs if i == 0 else outputs, outputs) for i in range(count))


def _through(blocks: nn.Module, features: Tensor, rules: Rulebook) -> Tensor:
    for block in blocks.children():
        features = block(features, rules)
    return features
