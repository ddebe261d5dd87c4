"""AdamW over a method's own parameter groups, and a rate that follows progress instead of step numbers."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

START = 0.01
"""Share of the rate at the very first step: a rate of zero would waste it."""


def rate_share(progress: float, warm_up: float, final: float = 0.0) -> float:
    """Share of the full rate: a straight rise over the warm-up, then half a cosine down to `final`.

    Args:
        progress: share of the budget that is spent, 0 to 1.
        warm_up: share of the budget over which the rate rises.
        final: share of the rate at the end.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warm_up:
        return START + (1 - START) * progress / warm_up
    fall = (progress - warm_up) / (1 - warm_up) if warm_up < 1 else 0.0
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fall))


def adamw(groups: Iterable[dict[str, Any]], weight_decay: float) -> torch.optim.AdamW:
    """AdamW whose weight decay spares vectors: biases, norms and other per-channel numbers.

    Args:
        groups: `parameter_groups(rate)` of a method: {"params", "lr", "name"}.
        weight_decay: decoupled weight decay of kernels and matrices.
    """
    split: list[dict[str, Any]] = []
    for group in groups:
        for kind, decay, members in (
            ("kernels", weight_decay, [p for p in group["params"] if p.ndim > 1]),
            ("vectors", 0.0, [p for p in group["params"] if p.ndim <= 1]),
        ):
            if members:
                name = f"{group.get('name', 'all')} {kind}"
                rest = {k: v for k, v in group.items() if k not in ("params", "name")}
                split.append({**rest, "params": members, "weight_decay": decay, "name": name, "full_rate": group["lr"]})
    return torch.optim.AdamW(split, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, share: float, progress: float = 1.0) -> None:
    """Set every group's rate to a share of its full rate; a group with a `warm_up` of its own rises over that.

    Args:
        progress: share of the budget that is spent.
    """
    for group in optimiser.param_groups:
        rise = group.get("warm_up", 0.0)
        risen = START + (1 - START) * progress / rise if progress < rise else 1.0
        group["lr"] = group["full_rate"] * share * risen


class MovingAverage:
    """Exponential moving average of a module's weights and buffers.

    The decay is small at first, (1 + n) / (10 + n) after n steps, so that the random start is soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's present weights; counters and other whole numbers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module carries the average inside the block and its own weights again after it."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.shadow)
        try:
            yield
        finally:
            module.load_state_dict(own)
