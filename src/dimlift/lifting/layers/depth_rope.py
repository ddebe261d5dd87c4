"""Rotary positions along depth: each token turned by its slice's angle, times a gate that starts at zero.

Rotary attention compares tokens by the angle between them, so an angle for depth on top of those for height and width
tells how many slices lie between two tokens. The same channels are paired as in the network's own rotation, and the
two then add up.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dimlift.lifting.fold import by_depth, current_fold
from dimlift.lifting.layers.class_patch import become

SLOWEST = 0.01
"""Angles per slice go from 1 down to this, evenly in their logarithm, over the pairs of channels."""


class TurnedByDepth(nn.Module):
    """Put before the own forward of an attention layer with rotary positions.

    Attributes:
        depth_gate: (1,), how far the angles of slices count; zero at first.
        halves: whether channel i is paired with channel i + C/2, as against its neighbour.
    """

    depth_gate: nn.Parameter
    halves: bool

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The layer's answer, its queries and keys turned."""
        with DepthAngles(self.depth_gate, self.halves):
            return super().forward(*inputs, **options)


class DepthAngles(TorchFunctionMode):
    """Active during one forward of one layer."""

    def __init__(self, gate: Tensor, halves: bool) -> None:
        super().__init__()
        self.gate = gate
        self.halves = halves

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call of torch; attention on turned queries and keys."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key, *rest = (*args, *(kwargs.pop(name) for name in ("query", "key", "value") if name in kwargs))
            args = (turn(query, self.gate, self.halves), turn(key, self.gate, self.halves), *rest)
        return func(*args, **kwargs)


def turn(x: Tensor, gate: Tensor, halves: bool) -> Tensor:
    """Queries or keys (B*D*E, *heads, T, C), turned by the angles of their slice, prefix tokens too."""
    view = by_depth(x)
    pairs = x.shape[-1] // 2
    rates = torch.logspace(0, 1, pairs, base=SLOWEST, device=x.device)
    slices = torch.arange(current_fold().depth, device=x.device, dtype=rates.dtype)
    angles = (gate * slices[:, None] * rates).to(x.dtype)
    angles = angles.view(1, len(slices), *[1] * (view.ndim - 3), pairs)
    a, b = torch.unflatten(view, -1, (2, -1) if halves else (-1, 2)).unbind(-2 if halves else -1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -2 if halves else -1)
    return turned.flatten(-2, -1).flatten(0, 2)


def rotary_embedding(network: nn.Module) -> nn.Module | None:
    """What makes a network's rotary positions; None if it has none."""
    kinds = ("rotary", "rope")
    return next((m for m in network.modules() if any(kind in type(m).__name__.lower() for kind in kinds)), None)


def add_depth_angles(attention: nn.Module) -> None:
    """Give an attention layer with rotary positions a gate for those of depth."""
    like = next(attention.parameters())
    become(attention, TurnedByDepth)
    attention.halves = bool(getattr(attention, "rotate_half", True))  # type: ignore[assignment]
    attention.register_parameter("depth_gate", nn.Parameter(torch.zeros(1, dtype=like.dtype, device=like.device)))
