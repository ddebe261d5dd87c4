"""Transformers on patches of points: one level (Point-MAE) or several, fine to coarse (Point-M2AE).

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: one level, 64 patches of 32, 12 blocks of 384, 6 heads
- Zhang et al., Point-M2AE, 2022, https://arxiv.org/abs/2205.14401: 512, 256 and 64 patches of 16, 8 and 8,
  widths 96, 192 and 384, 5 blocks each, 6 heads

Masked patches are never computed: only the points of visible patches are encoded. Stochastic depth is left out.
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches, cut_hierarchy, propagate_visibility
from dimlift.geometry.sampling import gather_points
from dimlift.models.transformer_blocks import TransformerBlocks, VisibleTokens, select_visible
from dimlift.models.transformer_init import init_transformer_weights
from dimlift.tokenizers.points import PointPatchEmbedding, PointTokens, join_features, position_mlp

Levels = Sequence[Patches]


class PointM2AEEncoder(nn.Module):
    """Encoder (B, N, 3) -> tokens of the coarsest level.

    Args:
        num_groups: patches of each level, finest first; the patches of a level consist of patches of the level below.
        group_sizes: points, or finer tokens, of a patch of each level.
        widths: token channels of each level.
        depths: transformer blocks of each level; 0 for a level that only merges.
        heads: attention heads of every block.
        in_channels: feature channels of a point beside its coordinates (colour, normal).

    Attributes:
        width: channels of the returned tokens.

    Raises:
        ShapeError: if the levels are inconsistent in number or size.
    """

    def __init__(
        self,
        num_groups: Sequence[int] = (64,),
        group_sizes: Sequence[int] = (32,),
        widths: Sequence[int] = (384,),
        depths: Sequence[int] = (12,),
        heads: int = 6,
        in_channels: int = 0,
    ) -> None:
        super().__init__()
        levels = {"num_groups": num_groups, "group_sizes": group_sizes, "widths": widths, "depths": depths}
        if len({len(each) for each in levels.values()}) > 1 or not num_groups:
            found = ", ".join(f"{name} {list(each)}" for name, each in levels.items())
            raise ShapeError(f"{found} differ in length; set one number for each level")
        if any(below < above for below, above in itertools.pairwise(num_groups)):
            raise ShapeError(f"num_groups {list(num_groups)} increase; the finest level comes first")
        for width in widths:
            if width % heads:
                raise ShapeError(f"width {width} is not divisible by {heads} heads; choose a divisor")
        self.num_groups, self.group_sizes = tuple(num_groups), tuple(group_sizes)
        self.widths, self.width, self.heads = tuple(widths), widths[-1], heads
        self.in_channels = in_channels
        inputs = [3 + in_channels, *widths[:-1]]
        hidden = [(128, 256), *((w, w) for w in widths[:-1])]
        self.merge = nn.ModuleList(map(PointPatchEmbedding, inputs, widths, hidden))
        self.positions = nn.ModuleList(map(position_mlp, widths))
        self.stages = nn.ModuleList(TransformerBlocks(w, depth, heads) for w, depth in zip(widths, depths, strict=True))
        init_transformer_weights(self)

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> PointTokens:
        """Return the coarsest tokens of complete point clouds."""
        levels = self.cut(points)
        return PointTokens(self.encode(points, levels, features=features)[-1], levels[-1].centres)

    def cut(self, points: Float[Tensor, "batch points 3"]) -> list[Patches]:
        """Cut point clouds into the patches of every level."""
        return cut_hierarchy(points, self.num_groups, self.group_sizes)

    def encode(
        self,
        points: Float[Tensor, "batch points 3"],
        levels: Levels,
        visible: Bool[Tensor, "batch patches"] | None = None,
        features: Float[Tensor, "batch points channels"] | None = None,
    ) -> list[Float[Tensor, "batch _ _"]]:
        """Return the tokens of every level, finest first; zero where masked.

        Args:
            visible: visible patches of the coarsest level; None makes all visible.

        Raises:
            ShapeError: if the number of feature channels is not `in_channels`.
        """
        inputs = join_features(points, features, self.in_channels)
        finer, shown = self.encode_finer(inputs, levels, visible)
        last = len(self.stages) - 1
        values = self.stages[last](shown.values, self.positions[last](shown.centres), key_padding_mask=shown.padding)
        return [*finer, shown.scatter(values, levels[last].chosen.shape[1])]

    def encode_finer(
        self, inputs: Float[Tensor, "batch points _"], levels: Levels, visible: Bool[Tensor, "batch patches"] | None
    ) -> tuple[list[Tensor], VisibleTokens]:
        """Return the tokens of all levels but the coarsest, and the coarsest visible tokens before their blocks."""
        if visible is None:
            visible = torch.ones_like(levels[-1].chosen, dtype=torch.bool)
        masks = propagate_visibility(levels, visible)
        finer: list[Tensor] = []
        for level in range(len(levels) - 1):
            shown = self._embed(level, inputs, levels[level], masks[level])
            values = self.stages[level](
                shown.values, self.positions[level](shown.centres), key_padding_mask=shown.padding
            )
            inputs = shown.scatter(values, levels[level].chosen.shape[1])
            finer.append(inputs)
        return finer, self._embed(len(levels) - 1, inputs, levels[-1], masks[-1])

    def _embed(self, level: int, inputs: Tensor, patches: Patches, visible: Tensor) -> VisibleTokens:
        """Embed the visible patches of a level from the points or tokens below."""
        shown = select_visible(visible)
        centres = gather_points(patches.centres, shown.indices)
        members = gather_points(inputs, gather_points(patches.members, shown.indices))
        if level == 0:
            members = torch.cat([members[..., :3] - centres[:, :, None], members[..., 3:]], dim=-1)
        return shown._replace(values=self.merge[level](members, shown.padding), centres=centres)
