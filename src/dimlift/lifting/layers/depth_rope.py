"""Rotary position embedding along depth: queries and keys are rotated by the angle of their slice.

Rotary attention depends on differences of angles, so an angle for depth, on top of those for height and width, encodes
the distance between slices. It pairs channels as the network's own rotation does, so that the two add. A gate that
starts at zero scales the angles: at first the network is unchanged.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimlift.class_patch import patch_class
from dimlift.lifting.fold import current_fold, split_depth
from dimlift.lifting.layers.call_interceptor import CallInterceptor, TorchFunction, attention_arguments

MIN_FREQUENCY = 0.01
"""Frequencies over the channel pairs are spaced logarithmically from 1 radian per slice down to this."""


class DepthRoPE(nn.Module):
    """Mixin for attention layers with rotary positions: adds the rotation by depth.

    Attributes:
        depth_gate: (1,), scale of the angles; starts at zero.
        rotate_halves: whether channel i is paired with channel i + C/2; otherwise with its neighbour.
    """

    depth_gate: nn.Parameter
    rotate_halves: bool

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the layer's output with its queries and keys rotated."""
        with CallInterceptor(DepthRotation(self.depth_gate, self.rotate_halves)):
            return super().forward(*inputs, **options)


class DepthRotation:
    """Call handler for one forward of one layer: attention on rotated queries and keys."""

    functions = (F.scaled_dot_product_attention,)

    def __init__(self, gate: Tensor, rotate_halves: bool) -> None:
        self.gate = gate
        self.rotate_halves = rotate_halves

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rotate query and key."""
        arguments = attention_arguments(args, kwargs)
        for name in ("query", "key"):
            arguments[name] = rotate_by_depth(arguments[name], self.gate, self.rotate_halves)
        return function(**arguments)


def rotate_by_depth(x: Tensor, gate: Tensor, rotate_halves: bool) -> Tensor:
    """Rotate queries or keys (B*D*E, *heads, T, C) by the angles of their slice, prefix tokens included."""
    view = split_depth(x)
    num_pairs = x.shape[-1] // 2
    frequencies = torch.logspace(0, 1, num_pairs, base=MIN_FREQUENCY, device=x.device)
    slices = torch.arange(current_fold().depth, device=x.device, dtype=frequencies.dtype)
    angles = (gate * slices[:, None] * frequencies).to(x.dtype)
    angles = angles.view(1, len(slices), *[1] * (view.ndim - 3), num_pairs)
    a, b = torch.unflatten(view, -1, (2, -1) if rotate_halves else (-1, 2)).unbind(-2 if rotate_halves else -1)
    cos, sin = angles.cos(), angles.sin()
    rotated = torch.stack((a * cos - b * sin, a * sin + b * cos), -2 if rotate_halves else -1)
    return rotated.flatten(-2, -1).flatten(0, 2)


def find_rotary_embedding(network: nn.Module) -> nn.Module | None:
    """Return the module that computes a network's rotary positions, or None."""
    names = ("rotary", "rope")
    return next((m for m in network.modules() if any(name in type(m).__name__.lower() for name in names)), None)


def add_depth_rope(attention: nn.Module) -> None:
    """Add the rotation by depth, with its gate at zero, to an attention layer with rotary positions, in place."""
    like = next(attention.parameters())
    patch_class(attention, DepthRoPE)
    attention.rotate_halves = bool(getattr(attention, "rotate_half", True))  # type: ignore[assignment]
    attention.register_parameter("depth_gate", nn.Parameter(torch.zeros(1, dtype=like.dtype, device=like.device)))
