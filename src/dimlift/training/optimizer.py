"""AdamW with parameter groups, a learning rate schedule over progress, and an exponential moving average."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

START = 0.01
"""Factor of the learning rate at the first step; zero would waste the step."""


def lr_factor(progress: float, warmup_fraction: float, min_lr_fraction: float = 0.0) -> float:
    """Return the factor of the learning rate: linear warmup, then cosine decay to `min_lr_fraction`.

    Args:
        progress: used fraction of the budget, 0 to 1.
        warmup_fraction: fraction of the budget over which the learning rate rises.
        min_lr_fraction: factor at the end.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup_fraction:
        return START + (1 - START) * progress / warmup_fraction
    decay = (progress - warmup_fraction) / (1 - warmup_fraction) if warmup_fraction < 1 else 0.0
    return min_lr_fraction + (1 - min_lr_fraction) * 0.5 * (1 + math.cos(math.pi * decay))


def make_adamw(groups: Iterable[dict[str, Any]], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW without weight decay of vectors: biases, norms and other per-channel parameters.

    Args:
        groups: `param_groups(lr)` of a method: {"params", "lr", "name"}.
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
                split.append({**rest, "params": members, "weight_decay": decay, "name": name, "base_lr": group["lr"]})
    return torch.optim.AdamW(split, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, factor: float, progress: float = 1.0) -> None:
    """Set the learning rate of every group to a factor of its base learning rate.

    A group with a `warmup_fraction` of its own also rises over that.

    Args:
        optimizer: created by `make_adamw`.
        factor: factor of the schedule (`lr_factor`).
        progress: used fraction of the budget.
    """
    for group in optimizer.param_groups:
        warmup = group.get("warmup_fraction", 0.0)
        group_factor = START + (1 - START) * progress / warmup if progress < warmup else 1.0
        group["lr"] = group["base_lr"] * factor * group_factor


class ModelEMA:
    """Exponential moving average of the weights and buffers of a module.

    The decay is (1 + n) / (10 + n) after n steps until it reaches its final value, so that the random initial weights
    lose their influence early.

    Args:
        module: the averaged module.
        decay: final decay.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update the average with the current weights; integer buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Load the average into the module inside the block, and restore its weights afterwards."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.shadow)
        try:
            yield
        finally:
            module.load_state_dict(own)
