"""Transformer blocks that add the positions again before each block, as in masked point autoencoders."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError


class TransformerBlocks(nn.Module):
    """Pre-norm blocks with an MLP ratio of 4, and a final norm.

    Args:
        width: channels of a token.
        depth: number of blocks; 0 leaves the norm.
        heads: attention heads.
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"width {width} is not divisible by {heads} heads; choose a divisor")
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        values: Float[Tensor, "batch tokens width"],
        positions: Float[Tensor, "batch tokens width"],
        key_padding_mask: Bool[Tensor, "batch tokens"] | None = None,
        attn_mask: Bool[Tensor, "rows tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the normalised tokens after the last block.

        Args:
            key_padding_mask: True for padding.
            attn_mask: True where a token (row) must not attend to another (column), for each batch element and head.
        """
        for block in self.blocks:
            values = block(values + positions, src_mask=attn_mask, src_key_padding_mask=key_padding_mask)
        return self.norm(values)


class VisibleTokens(NamedTuple):
    """The visible tokens of each batch element, padded to equal numbers.

    Attributes:
        indices: position of each visible token among all tokens.
        padding: True for padding; None if all batch elements have equally many visible tokens.
        values: the tokens, once they are computed.
        centres: their coordinates.
    """

    indices: Int[Tensor, "batch visible"]
    padding: Bool[Tensor, "batch visible"] | None
    values: Float[Tensor, "batch visible width"]
    centres: Float[Tensor, "batch visible 3"]

    def scatter(self, values: Float[Tensor, "batch visible width"], count: int) -> Float[Tensor, "batch count width"]:
        """Scatter values to their positions among `count` tokens; all others are zero."""
        if self.padding is not None:
            values = values.masked_fill(self.padding[..., None], 0.0)
        scattered = values.new_zeros(len(values), count, values.shape[-1])
        return scattered.scatter(1, self.indices[..., None].expand_as(values), values)


def select_visible(visible: Bool[Tensor, "batch tokens"]) -> VisibleTokens:
    """Return the positions of the visible tokens, in order.

    Raises:
        ShapeError: if a batch element has no visible token.
    """
    counts = visible.sum(1)
    if int(counts.min()) == 0:
        raise ShapeError("a point cloud has no visible token; lower the mask ratio")
    most = int(counts.max())
    indices = torch.argsort((~visible).int(), dim=1, stable=True)[:, :most]
    padding = None if int(counts.min()) == most else ~visible.gather(1, indices)
    empty = torch.empty(0, device=visible.device)
    return VisibleTokens(indices, padding, empty, empty)
