"""Position embedding along depth, which distinguishes slices that attend to one another. It starts at zero."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.lifting.fold import current_fold, split_depth

NUM_POSITIONS = 16
"""Learnt positions from the first slice to the last; they are interpolated to the number of slices."""


class DepthPositionEmbedding:
    """Forward hook of the first convolution: adds its parameter `depth_position` (NUM_POSITIONS, C) to its output."""

    def __call__(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Add the position of each slice."""
        table: Tensor = module.depth_position  # type: ignore[assignment]
        positions = F.interpolate(table.t()[None], size=current_fold().depth, mode="linear", align_corners=False)[0]
        out = split_depth(output.permute(0, 2, 3, 1)) + positions.t().to(output.dtype)[:, None, None, None, :]
        return out.flatten(0, 2).permute(0, 3, 1, 2)


def add_depth_embedding(conv: nn.Conv2d) -> None:
    """Add a depth position embedding, initialised to zero, to the output of a convolution, in place."""
    like = conv.weight
    table = torch.zeros(NUM_POSITIONS, conv.out_channels, dtype=like.dtype, device=like.device)
    conv.register_parameter("depth_position", nn.Parameter(table))
    conv.register_forward_hook(DepthPositionEmbedding())
