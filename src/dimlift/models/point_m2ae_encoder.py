"""Transformers on patches of points: one level (Point-MAE) or several, fine to coarse (Point-M2AE).

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: one level, 64 patches of 32, 12 blocks of 384, 6 heads
- Zhang et al., Point-M2AE, 2022, https://arxiv.org/abs/2205.14401: 512, 256 and 64 patches of 16, 8 and 8,
  widths 96, 192 and 384, 5 blocks each, 6 heads

What is masked is never computed: only the points of visible patches enter. Left out: stochastic depth.
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches, cut_hierarchy, seen_below
from dimlift.geometry.sampling import gather_points
from dimlift.models.transformer_blocks import Blocks, Visible, choose
from dimlift.tokenizers.points import PatchEmbedding, PointTokens, position_network

Levels = Sequence[Patches]


class PointHierarchy(nn.Module):
    """(B, N, 3) -> tokens of the coarsest level.

    Args:
        patches: of each level, finest first; the patches of a level are made of the one below.
        neighbours: points, or finer tokens, of a patch.
        widths: of the tokens of each level.
        depths: transformer blocks of each level; 0 for a level that only merges.
        heads: of every block.
        in_channels: numbers of a point beside its coordinates (colour, normal).

    Attributes:
        width: of the tokens handed out.

    Raises:
        ShapeError: if the levels do not agree in number or size.
    """

    def __init__(
        self,
        patches: Sequence[int] = (64,),
        neighbours: Sequence[int] = (32,),
        widths: Sequence[int] = (384,),
        depths: Sequence[int] = (12,),
        heads: int = 6,
        in_channels: int = 0,
    ) -> None:
        super().__init__()
        given = {"patches": patches, "neighbours": neighbours, "widths": widths, "depths": depths}
        if len({len(each) for each in given.values()}) > 1 or not patches:
            told = ", ".join(f"{name} {list(each)}" for name, each in given.items())
            raise ShapeError(f"{told}: give one number for each level")
        if any(below < above for below, above in itertools.pairwise(patches)):
            raise ShapeError(f"patches {list(patches)} grow from level to level; give the finest level first")
        for width in widths:
            if width % heads:
                raise ShapeError(f"tokens of {width} numbers cannot be shared among {heads} heads; choose a divisor")
        self.patches, self.neighbours = tuple(patches), tuple(neighbours)
        self.widths, self.width, self.heads = tuple(widths), widths[-1], heads
        self.in_channels = in_channels
        inputs = [3 + in_channels, *widths[:-1]]
        hidden = [(128, 256), *((w, w) for w in widths[:-1])]
        self.merge = nn.ModuleList(map(PatchEmbedding, inputs, widths, hidden))
        self.positions = nn.ModuleList(map(position_network, widths))
        self.stages = nn.ModuleList(Blocks(w, depth, heads) for w, depth in zip(widths, depths, strict=True))

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> PointTokens:
        """Tokens of whole clouds."""
        levels = self.cut(points)
        return PointTokens(self.encode(points, levels, features=features)[-1], levels[-1].centres)

    def cut(self, points: Float[Tensor, "batch points 3"]) -> list[Patches]:
        """Patches of every level."""
        return cut_hierarchy(points, self.patches, self.neighbours)

    def encode(
        self,
        points: Float[Tensor, "batch points 3"],
        levels: Levels,
        visible: Bool[Tensor, "batch patches"] | None = None,
        features: Float[Tensor, "batch points channels"] | None = None,
    ) -> list[Float[Tensor, "batch _ _"]]:
        """Tokens of every level; zero where they are not visible.

        Args:
            visible: of the coarsest level; everything if None.

        Raises:
            ShapeError: if there are features other than promised.
        """
        given = 0 if features is None else features.shape[-1]
        if given != self.in_channels:
            raise ShapeError(f"{given} numbers beside the coordinates of a point, {self.in_channels} were promised")
        entering = points if features is None else torch.cat([points, features], dim=-1)
        finer, found = self.below(entering, levels, visible)
        last = len(self.stages) - 1
        values = self.stages[last](found.values, self.positions[last](found.centres), padding=found.padding)
        return [*finer, found.spread(values, levels[last].chosen.shape[1])]

    def below(
        self, points: Float[Tensor, "batch points _"], levels: Levels, visible: Bool[Tensor, "batch patches"] | None
    ) -> tuple[list[Tensor], Visible]:
        """Tokens of all levels but the coarsest, and the visible tokens of that one before its blocks."""
        if visible is None:
            visible = torch.ones_like(levels[-1].chosen, dtype=torch.bool)
        shown = seen_below(levels, visible)
        lower: list[Tensor] = []
        entering = points
        for number in range(len(levels) - 1):
            found = self._enter(number, entering, levels[number], shown[number])
            values = self.stages[number](found.values, self.positions[number](found.centres), padding=found.padding)
            entering = found.spread(values, levels[number].chosen.shape[1])
            lower.append(entering)
        return lower, self._enter(len(levels) - 1, entering, levels[-1], shown[-1])

    def _enter(self, number: int, entering: Tensor, level: Patches, shown: Tensor) -> Visible:
        """Visible tokens of a level, made of the points or of the tokens below."""
        found = choose(shown)
        centres = gather_points(level.centres, found.chosen)
        inside = gather_points(entering, gather_points(level.members, found.chosen))
        if number == 0:
            inside = torch.cat([inside[..., :3] - centres[:, :, None], inside[..., 3:]], dim=-1)
        return found._replace(values=self.merge[number](inside), centres=centres)
