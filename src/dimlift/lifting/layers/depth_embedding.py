"""Depth position: what tells slices apart once they attend to one another. Zero at first, so it changes nothing."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.lifting.fold import by_depth, current_fold

KNOTS = 16
"""Learnt positions from the first slice to the last; depths in between are interpolated."""


class AddDepthPosition:
    """A forward hook on the convolution that reads the image: adds its `depth_position` (KNOTS, C), spread over D."""

    def __call__(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Add the position of each slice."""
        knots: Tensor = module.depth_position  # type: ignore[assignment]
        spread = F.interpolate(knots.t()[None], size=current_fold().depth, mode="linear", align_corners=False)[0]
        moved = by_depth(output.permute(0, 2, 3, 1)) + spread.t().to(output.dtype)[:, None, None, None, :]
        return moved.flatten(0, 2).permute(0, 3, 1, 2)


def add_depth_position(conv: nn.Conv2d) -> None:
    """Give this convolution's output a depth position, zero for now."""
    like = conv.weight
    knots = torch.zeros(KNOTS, conv.out_channels, dtype=like.dtype, device=like.device)
    conv.register_parameter("depth_position", nn.Parameter(knots))
    conv.register_forward_hook(AddDepthPosition())
