"""Transformer blocks whose positions are told anew before each, as masked point autoencoders have them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError


class Blocks(nn.Module):
    """Pre-norm blocks, hidden width four times the token's, and a norm behind the last.

    Args:
        width: of a token.
        depth: number of blocks; 0 leaves the norm.
        heads: of the attention.
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"tokens of {width} numbers cannot be shared among {heads} heads; choose a divisor")
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
        padding: Bool[Tensor, "batch tokens"] | None = None,
        barred: Bool[Tensor, "rows tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Answers of the last block.

        Args:
            padding: True for tokens that are none, to which nobody listens.
            barred: True where a token (row) may not listen to another (column), for each cloud and head.
        """
        for block in self.blocks:
            values = block(values + positions, src_mask=barred, src_key_padding_mask=padding)
        return self.norm(values)


class Visible(NamedTuple):
    """The visible among some tokens, side by side; clouds with fewer are filled up with tokens that do not count.

    Attributes:
        chosen: where each stood.
        padding: True for those that do not count; None where every cloud has as many.
        values: tokens, once they are made.
        centres: their places.
    """

    chosen: Int[Tensor, "batch visible"]
    padding: Bool[Tensor, "batch visible"] | None
    values: Float[Tensor, "batch visible width"]
    centres: Float[Tensor, "batch visible 3"]

    def spread(self, values: Float[Tensor, "batch visible width"], count: int) -> Float[Tensor, "batch count width"]:
        """Values back where they stood among `count` tokens, zero elsewhere."""
        if self.padding is not None:
            values = values.masked_fill(self.padding[..., None], 0.0)
        whole = values.new_zeros(len(values), count, values.shape[-1])
        return whole.scatter(1, self.chosen[..., None].expand_as(values), values)


def choose(visible: Bool[Tensor, "batch tokens"]) -> Visible:
    """Where the visible tokens stand, in their order.

    Raises:
        ShapeError: if nothing of a cloud is visible.
    """
    counts = visible.sum(1)
    if int(counts.min()) == 0:
        raise ShapeError("nothing of a cloud is visible; mask less of it")
    most = int(counts.max())
    index = torch.argsort((~visible).int(), dim=1, stable=True)[:, :most]
    padding = None if int(counts.min()) == most else ~visible.gather(1, index)
    nothing = torch.empty(0, device=visible.device)
    return Visible(index, padding, nothing, nothing)
