"""Decoder of masked point autoencoders."""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.geometry.neighbours import interpolate
from dimlift.geometry.patches import Patches
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder
from dimlift.models.transformer_blocks import TransformerBlocks
from dimlift.models.transformer_init import STD, init_transformer_weights
from dimlift.tokenizers.points import position_mlp


class PointDecoder(nn.Module):
    """Decoder from the tokens of every level, coarse to fine, to the tokens of one level.

    Args:
        encoder: encoder whose tokens are decoded.
        depth: transformer blocks of each level.

    Attributes:
        level: level whose tokens are returned: the second finest, or the only one.
        width: channels of the returned tokens.
    """

    def __init__(self, encoder: PointM2AEEncoder, depth: int) -> None:
        super().__init__()
        self.level = min(1, len(encoder.widths) - 1)
        widths = encoder.widths[self.level :]
        self.width = widths[0]
        self.mask_tokens = nn.ParameterList([nn.Parameter(torch.empty(1, 1, w)) for w in widths])
        for parameter in self.mask_tokens:
            nn.init.trunc_normal_(parameter, std=STD)
        self.positions = nn.ModuleList(map(position_mlp, widths))
        self.stages = nn.ModuleList(TransformerBlocks(w, depth, encoder.heads) for w in widths)
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Linear(fine + coarse, fine), nn.GELU(), nn.Linear(fine, fine))
            for fine, coarse in itertools.pairwise(widths)
        )
        init_transformer_weights(self)

    def forward(
        self,
        tokens: Sequence[Float[Tensor, "batch _ _"]],
        levels: Sequence[Patches],
        visible: Sequence[Bool[Tensor, "batch _"]],
    ) -> Float[Tensor, "batch patches width"]:
        """Return tokens of every patch of `level`.

        Args:
            tokens: of the encoder's levels, finest first, zero where masked.
            levels: patches of the same levels.
            visible: visible patches of the same levels.
        """
        output: Tensor | None = None
        for number in reversed(range(len(self.stages))):
            level = number + self.level
            values = torch.where(visible[level][..., None], tokens[level], self.mask_tokens[number])
            if output is not None:
                upsampled = interpolate(levels[level].centres, levels[level + 1].centres, output)
                values = self.fuse[number](torch.cat([values, upsampled], dim=-1))
            output = self.stages[number](values, self.positions[number](levels[level].centres))
        return values if output is None else output
