"""Attention across slices for layers that compute scores, softmax and weighted sum themselves.

The layer's own forward runs on pairs of slices. Between its two matrix products the leading axis holds, for every
slice, each slice of its window: B*pairs*E instead of B*D*E. Bias tables, masks, scales and head mixing then apply to
each pair as they apply to a slice in 2D. Two steps change: the softmax runs over the keys of all slices of the window
and its weights are multiplied by the number of slices; the second product averages over them. On a volume of one
repeated slice the weights therefore equal those in 2D, whatever the layer does to them.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimlift.errors import LiftError
from dimlift.lifting.fold import Fold, count_attention_call, current_fold, suspend_interception
from dimlift.lifting.layers.attention.sdpa import describe_attention, slice_windows
from dimlift.lifting.layers.call_interceptor import (
    RESHAPES,
    SOFTMAXES,
    CallInterceptor,
    TorchFunction,
    notify_spanned,
)

MATMULS = (torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__)


class ManualAttention(nn.Module):
    """Mixin that lets a layer with manually computed attention span slices.

    Attributes:
        slice_window: number of slices whose tokens attend to one another, or "volume" for all.
    """

    slice_window: Literal["volume"] | int

    @torch.compiler.disable  # torch.compile cannot trace a product that is intercepted by several handlers
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the layer's output, with attention over the slices of each window.

        Raises:
            LiftError: if the layer does not compute scores, a softmax over them and a weighted sum, in this order.
        """
        fold = current_fold()
        pairs = SlicePairs(fold, self.slice_window)
        notify_spanned(describe_attention(self.slice_window))
        with suspend_interception(), CallInterceptor(pairs):
            out = super().forward(*inputs, **options)
        count_attention_call()
        if pairs.step != "mixed":
            raise LiftError(
                f"{type(self).__name__} is registered as attention that computes scores, softmax and weighted sum, but "
                f"these three did not follow one another (it ended {pairs.step}); register it as "
                "AttentionType('token_set'), or use attention='per_slice'"
            )
        return out


class SlicePairs:
    """Call handler for one forward of one layer: the steps of attention on pairs of slices.

    Args:
        fold: the fold at the start of the forward.
        window: number of slices whose tokens attend to one another, or "volume" for all.

    Attributes:
        step: the last step of attention that was computed.
        query_slices: for each pair, the index of the slice of its queries.
        key_slices: for each pair, the index of the slice of its keys and values.
    """

    functions = (*MATMULS, *RESHAPES, *SOFTMAXES, torch.einsum)

    def __init__(self, fold: Fold, window: Literal["volume"] | int) -> None:
        self.fold = fold
        self.windows = slice_windows(fold.depth, window, fold.attention_calls)
        self.step: Literal["unscored", "scored", "weighted", "mixed"] = "unscored"
        self.query_slices: list[int] = []
        self.key_slices: list[int] = []
        for first, windows, size in self.windows:
            for start in range(first, first + windows * size, size):
                members = range(start, start + size)
                self.query_slices += [query for query in members for _ in members]
                self.key_slices += [key for _ in members for key in members]

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute one call; the three steps of attention on pairs of slices."""
        if function in MATMULS and self._holds_slices(args[1]):
            if self.step in ("unscored", "mixed") and self._holds_slices(args[0]):
                self.step = "scored"
                return function(self._gather(args[0], self.query_slices), self._gather(args[1], self.key_slices))
            if self.step == "weighted":
                self.step = "mixed"
                return self._mean_over_keys(function(args[0], self._gather(args[1], self.key_slices)))
        if self.step == "scored" and function in RESHAPES:
            args = self._pair_shape(*args)
        if self.step == "scored" and function is torch.einsum and self._holds_slices(args[1]):
            args = (args[0], self._gather(args[1], self.query_slices), *args[2:])  # a bias computed from queries
        if function in SOFTMAXES and self.step == "scored":
            self.step = "weighted"
            return self._softmax_over_keys(args[0], lambda scores: function(scores, *args[1:], **kwargs))
        return function(*args, **kwargs)

    def _holds_slices(self, x: Tensor) -> bool:
        return x.ndim >= 3 and x.shape[0] % (self.fold.batch * self.fold.depth) == 0

    def _gather(self, x: Tensor, slices: list[int]) -> Tensor:
        """(B*D*E, ...) to (B*pairs*E, ...)."""
        index = torch.tensor(slices, device=x.device)
        return torch.unflatten(x, 0, (self.fold.batch, self.fold.depth, -1)).index_select(1, index).flatten(0, 2)

    def _pair_shape(self, x: Tensor, *shape: Any) -> tuple[Any, ...]:
        """Adapt the shape of scores with leading size B*D*E, where x has B*pairs*E."""
        sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else list(shape)
        pairs, depth = len(self.query_slices), self.fold.depth
        holds_pairs = x.ndim >= 4 and x.shape[0] % (self.fold.batch * pairs) == 0 and sizes[0] % depth == 0
        found, requested = (x.shape[0], sizes[0]) if -1 in sizes else (x.numel(), math.prod(sizes))
        if holds_pairs and requested * pairs == found * depth:
            sizes[0] = sizes[0] * pairs // depth
        return (x, *sizes)

    def _by_window(self, x: Tensor) -> list[Tensor]:
        """(B*pairs*E, ...) to (B, windows, queries, keys, E, ...), for each group of equal windows."""
        view = torch.unflatten(x, 0, (self.fold.batch, len(self.query_slices), -1))
        parts = view.split([windows * size * size for _, windows, size in self.windows], 1)
        return [
            torch.unflatten(part, 1, (windows, size, size))
            for part, (_, windows, size) in zip(parts, self.windows, strict=True)
        ]

    def _softmax_over_keys(self, scores: Tensor, softmax: Callable[[Tensor], Tensor]) -> Tensor:
        parts = []
        for group in self._by_window(scores):
            wide = group.movedim(3, -2)  # (B, windows, queries, E, ..., keys, K)
            weights = softmax(wide.flatten(-2, -1).flatten(0, 3)) * group.shape[3]
            weights = torch.unflatten(torch.unflatten(weights, 0, wide.shape[:4]), -1, wide.shape[-2:])
            parts.append(weights.movedim(-2, 3).flatten(1, 3))
        return torch.cat(parts, 1).flatten(0, 2)

    def _mean_over_keys(self, mixed: Tensor) -> Tensor:
        return torch.cat([group.mean(3).flatten(1, 2) for group in self._by_window(mixed)], 1).flatten(0, 2)
