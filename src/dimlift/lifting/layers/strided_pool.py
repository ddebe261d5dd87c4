"""Stride along depth of the pools of a 2D network that have a stride within the slice."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dimlift.lifting.fold import follow_branch
from dimlift.lifting.layers.depth_shift import depth_windows


@dataclass(frozen=True)
class StridedPool:
    """Forward hook of a pool: reduces its output over windows along depth and updates the current fold.

    Maxima and averages over a box are separable, so the 2D pool runs first. Slices beyond the ends are the first and
    last one, which leaves a maximum unchanged.

    Attributes:
        reduction: over the slices of a window; "first" keeps its first slice, as a filter without depth does.
        kernel: number of slices of a window.
        step: stride along depth.
        before: number of slices by which the first window starts before the volume.
    """

    reduction: Literal["max", "mean", "first"]
    kernel: int
    step: int
    before: int = 0

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        """Reduce the output (B*D, C, H, W) to ceil(D / step) slices."""
        follow_branch(output)
        taps = depth_windows(output, self.kernel, self.step, before=self.before)
        pooled = taps[0]
        for tap in taps[1:]:
            pooled = torch.maximum(pooled, tap) if self.reduction == "max" else pooled + tap
        return pooled / self.kernel if self.reduction == "mean" else pooled

    def __str__(self) -> str:
        """Describe the pool, for the certificate."""
        what = {"max": "maximum", "mean": "average", "first": "first slice"}[self.reduction]
        return f"{what} over {self.kernel} slices, stride {self.step} along depth"


def strided_pool(pool: nn.Module, step: int) -> StridedPool:
    """Return the hook that gives a 2D pool a stride along depth: its window covers as many slices as rows."""
    size, padding = _first(getattr(pool, "kernel_size", 1)), _first(getattr(pool, "padding", 0))
    kernel, before = max(size, step), (size - 1) // 2 if padding else 0
    if isinstance(pool, nn.MaxPool2d):
        return StridedPool("max", kernel, step, before)
    if isinstance(pool, nn.AvgPool2d):
        return StridedPool("mean", kernel, step, before)
    return StridedPool("first", 1, step)


def _first(sizes: object) -> int:
    size = sizes[0] if isinstance(sizes, tuple | list) and sizes else sizes
    return size if isinstance(size, int) else 0
