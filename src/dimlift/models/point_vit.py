"""A 2D vision transformer whose tokens come from points: its blocks, norms and class token as they are.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026

Points enter through two steps of merging (PointNet++) and, for one answer per point, leave through two steps of
interpolation. The picture's positions are not used: a small network of coordinates gives them.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import CannotLift, ShapeError
from dimlift.geometry.neighbours import interpolate
from dimlift.geometry.patches import cut_patches
from dimlift.geometry.sampling import gather_points
from dimlift.models.voxel_transformer import count_heads
from dimlift.tokenizers.points import PointTokens

NEEDED = ("blocks", "norm", "cls_token", "num_prefix_tokens", "embed_dim")


class PointViT(nn.Module):
    """(B, N, 3) -> tokens of N / `shrink` ** 2 places, read by the blocks of a 2D vision transformer.

    Args:
        network: a timm vision transformer; left untouched.
        blocks: how many of its blocks, the first ones; all if None.
        neighbours: points that are merged into one.
        shrink: points to each point that is left after a step of merging.
        in_channels: numbers of a point beside its coordinates (colour, normal).

    Attributes:
        width: of a token, the network's.
        heads: of its attention, counted in the network.

    Raises:
        CannotLift: if the network is no plain vision transformer.
    """

    def __init__(
        self, network: nn.Module, blocks: int | None = None, neighbours: int = 16, shrink: int = 4, in_channels: int = 0
    ) -> None:
        super().__init__()
        missing = [part for part in NEEDED if not hasattr(network, part)]
        if missing or getattr(network, "rope", None) is not None:
            raise CannotLift(
                f"{type(network).__name__} has {'no ' + ', '.join(missing) if missing else 'rotary positions'}; point "
                "tokens go through a plain vision transformer of timm's, such as deit_base_patch16_224"
            )
        source: Any = network
        self.width, self.heads = int(source.embed_dim), count_heads(source)
        body: Any = nn.Module()  # only what is used: no picture embedding, no head
        kept = list(source.blocks)[:blocks]
        body.blocks = nn.ModuleList(copy.deepcopy(kept))
        for name in ("norm_pre", "norm"):
            setattr(body, name, copy.deepcopy(getattr(source, name, nn.Identity())))
        prefix = [p for p in (source.cls_token, getattr(source, "reg_token", None)) if p is not None]
        body.prefix = nn.Parameter(torch.cat(prefix, dim=1).detach().clone())
        self.body = body
        self.neighbours, self.shrink, self.in_channels = neighbours, shrink, in_channels
        quarter, half = self.width // 4, self.width // 2
        self.enter = _two_layers(3 + in_channels, quarter, quarter)
        self.position = _two_layers(3, quarter, quarter)
        self.down = nn.ModuleList([_Merge(quarter, half), _Merge(half, self.width)])

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> PointTokens:
        """Tokens of the coarsest level, after the blocks."""
        return self.levels(points, features)[-1]

    def levels(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> list[PointTokens]:
        """Points, then tokens after each step of merging; the last ones have been through the transformer.

        Raises:
            ShapeError: if there are too few points, or features other than promised.
        """
        given = 0 if features is None else features.shape[-1]
        if given != self.in_channels:
            raise ShapeError(f"{given} numbers beside the coordinates of a point, {self.in_channels} were promised")
        entering = points if features is None else torch.cat([points, features], dim=-1)
        found = [PointTokens(self.enter(entering) + self.position(points), points)]
        for merge in self.down:
            last = found[-1]
            count = max(1, last.centres.shape[1] // self.shrink)
            patches = cut_patches(last.centres, count, self.neighbours)
            found.append(PointTokens(merge(last, patches.members, patches.centres), patches.centres))
        return [*found[:-1], found[-1]._replace(values=self.transform(found[-1].values))]

    def transform(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """What the 2D network's class token, blocks and norm make of tokens; the class token is taken off again."""
        body: Any = self.body
        prefix = body.prefix.expand(len(tokens), -1, -1)
        values = body.norm_pre(torch.cat([prefix, tokens], dim=1))
        for block in body.blocks:
            values = block(values)
        return body.norm(values)[:, prefix.shape[1] :]


class PointSegmenter(nn.Module):
    """(B, N, 3) -> logits of every point (B, N, classes): two steps of interpolation back to the points.

    Args:
        encoder: whose levels are read.
        classes: length of each answer.
    """

    def __init__(self, encoder: PointViT, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        quarter, half, width = encoder.width // 4, encoder.width // 2, encoder.width
        self.up = nn.ModuleList([nn.Linear(width, half), nn.Linear(half, quarter)])
        self.beside = nn.ModuleList([nn.Linear(half, half), nn.Linear(quarter, quarter)])
        self.head = nn.Sequential(nn.Linear(quarter, quarter), nn.ReLU(), nn.Linear(quarter, classes))

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """Logits of every point."""
        *finer, coarse = self.encoder.levels(points, features)
        for up, beside, level in zip(self.up, self.beside, reversed(finer), strict=True):
            carried = interpolate(level.centres, coarse.centres, up(coarse.values))
            coarse = PointTokens(carried + beside(level.values), level.centres)
        return self.head(coarse.values)


class _Merge(nn.Module):
    """Neighbours and how they lie around a centre -> the centre's token."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.each = _two_layers(3 + inside, outside, outside)

    def forward(self, tokens: PointTokens, members: Tensor, centres: Tensor) -> Tensor:
        around = gather_points(tokens.centres, members) - centres[:, :, None]
        return self.each(torch.cat([around, gather_points(tokens.values, members)], dim=-1)).amax(2)


def _two_layers(inside: int, hidden: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inside, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outside))
