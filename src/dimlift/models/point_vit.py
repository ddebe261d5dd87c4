"""A 2D vision transformer whose tokens come from points; its blocks, norms and class token are unchanged.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026

Two set abstraction steps (PointNet++) reduce the points to tokens; for segmentation, two interpolation steps lead back
to the points. An MLP on the coordinates replaces the position embedding of the image.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import LiftError
from dimlift.geometry.neighbours import interpolate
from dimlift.geometry.patches import cut_patches
from dimlift.geometry.sampling import gather_points
from dimlift.models.transformer_init import init_transformer_weights
from dimlift.models.voxel_transformer import count_heads
from dimlift.tokenizers.points import PointMLP, PointTokens, join_features

NEEDED = ("blocks", "norm", "cls_token", "num_prefix_tokens", "embed_dim")


class PointViT(nn.Module):
    """Encoder (B, N, 3) -> N / `pool_ratio` ** 2 tokens, processed by the blocks of a 2D vision transformer.

    Args:
        network: a timm vision transformer; it is copied.
        blocks: number of its first blocks to use; None uses all.
        num_neighbors: points that are merged into one.
        pool_ratio: ratio of point numbers before and after a merging step.
        in_channels: feature channels of a point beside its coordinates (colour, normal).

    Attributes:
        width: channels of a token, the network's.
        heads: attention heads of the network.

    Raises:
        LiftError: if the network is not a plain vision transformer.
    """

    def __init__(
        self,
        network: nn.Module,
        blocks: int | None = None,
        num_neighbors: int = 16,
        pool_ratio: int = 4,
        in_channels: int = 0,
    ) -> None:
        super().__init__()
        missing = [part for part in NEEDED if not hasattr(network, part)]
        if missing or getattr(network, "rope", None) is not None:
            raise LiftError(
                f"{type(network).__name__} has {'no ' + ', '.join(missing) if missing else 'rotary positions'}; point "
                "tokens need a plain timm vision transformer, such as deit_base_patch16_224"
            )
        source: Any = network
        self.width, self.heads = int(source.embed_dim), count_heads(source)
        body: Any = nn.Module()  # only the parts in use: no patch embedding, no head
        body.blocks = nn.ModuleList(copy.deepcopy(list(source.blocks)[:blocks]))
        for name in ("norm_pre", "norm"):
            setattr(body, name, copy.deepcopy(getattr(source, name, nn.Identity())))
        prefix = [p for p in (source.cls_token, getattr(source, "reg_token", None)) if p is not None]
        body.prefix = nn.Parameter(torch.cat(prefix, dim=1).detach().clone())
        self.body = body
        self.num_neighbors, self.pool_ratio, self.in_channels = num_neighbors, pool_ratio, in_channels
        quarter, half = self.width // 4, self.width // 2
        self.embed = PointMLP(3 + in_channels, quarter, quarter)
        self.position = PointMLP(3, quarter, quarter)
        self.down = nn.ModuleList([_SetAbstraction(quarter, half), _SetAbstraction(half, self.width)])
        init_transformer_weights(self.embed, self.position, self.down)

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> PointTokens:
        """Return the coarsest tokens, after the blocks."""
        return self.levels(points, features)[-1]

    def levels(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> list[PointTokens]:
        """Return the points, and the tokens after each merging step; the last ones have passed the transformer.

        Raises:
            ShapeError: if there are too few points, or the number of feature channels is not `in_channels`.
        """
        inputs = join_features(points, features, self.in_channels)
        levels = [PointTokens(self.embed(inputs) + self.position(points), points)]
        for merge in self.down:
            last = levels[-1]
            count = max(1, last.centres.shape[1] // self.pool_ratio)
            patches = cut_patches(last.centres, count, self.num_neighbors)
            levels.append(PointTokens(merge(last, patches.members, patches.centres), patches.centres))
        return [*levels[:-1], levels[-1]._replace(values=self.transform(levels[-1].values))]

    def transform(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Apply the 2D network's class token, blocks and norm to tokens; the class token is removed again."""
        body: Any = self.body
        prefix = body.prefix.expand(len(tokens), -1, -1)
        values = body.norm_pre(torch.cat([prefix, tokens], dim=1))
        for block in body.blocks:
            values = block(values)
        return body.norm(values)[:, prefix.shape[1] :]


class PointViTSegmenter(nn.Module):
    """Segmentation network (B, N, 3) -> logits of every point (B, N, num_classes), by two interpolation steps.

    Args:
        encoder: encoder whose tokens of all levels are used.
        num_classes: number of classes.
    """

    def __init__(self, encoder: PointViT, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        quarter, half, width = encoder.width // 4, encoder.width // 2, encoder.width
        self.up = nn.ModuleList([nn.Linear(width, half), nn.Linear(half, quarter)])
        self.lateral = nn.ModuleList([nn.Linear(half, half), nn.Linear(quarter, quarter)])
        self.head = nn.Sequential(nn.Linear(quarter, quarter), nn.ReLU(), nn.Linear(quarter, num_classes))
        init_transformer_weights(self.up, self.lateral, self.head)

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """Return the logits of every point."""
        *finer, coarse = self.encoder.levels(points, features)
        for up, lateral, level in zip(self.up, self.lateral, reversed(finer), strict=True):
            upsampled = interpolate(level.centres, coarse.centres, up(coarse.values))
            coarse = PointTokens(upsampled + lateral(level.values), level.centres)
        return self.head(coarse.values)


class _SetAbstraction(nn.Module):
    """MLP on the neighbours of a centre and their relative coordinates, and max pooling."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mlp = PointMLP(3 + in_channels, out_channels, out_channels)

    def forward(self, tokens: PointTokens, members: Tensor, centres: Tensor) -> Tensor:
        offsets = gather_points(tokens.centres, members) - centres[:, :, None]
        return self.mlp(torch.cat([offsets, gather_points(tokens.values, members)], dim=-1)).amax(2)
