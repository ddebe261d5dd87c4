"""Attention written out by hand: scores, softmax, mix. The layer's own forward runs, on pairs of slices.

Between its two products the leading axis holds, for every slice, each slice it sees: B*pairs*E instead of B*D*E. Bias
tables, masks, scales and the mixing of heads then do to each pair what they did to a slice. Only two steps have to
know: the softmax runs over the keys of all slices seen, and its weights are multiplied by their number; the second
product averages over them. So each of equal slices has the weights of 2D, whatever is still done to weights.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dimlift.errors import CannotLift
from dimlift.lifting.fold import Fold, count_attention, current_fold, left_alone
from dimlift.lifting.layers.attention.call_interceptor import RESHAPES, SOFTMAXES, tell_attention
from dimlift.lifting.layers.attention.sdpa import runs_of_slices

PRODUCTS = (torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__)


class WrittenOut(nn.Module):
    """Put before a layer's own forward.

    Attributes:
        slices_together: slices whose tokens see one another.
    """

    slices_together: Literal["joint"] | int

    @torch.compiler.disable  # it cannot follow a product that another mode takes apart
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The layer's answer, each slice having seen its window.

        Raises:
            CannotLift: if the layer does not compute scores, a softmax over them and a mix, in this order.
        """
        fold = current_fold()
        pairs = PairsOfSlices(fold, self.slices_together)
        tell_attention(self.slices_together)
        with left_alone(), pairs:
            out = super().forward(*inputs, **options)
        count_attention()
        if pairs.step != "mixed":
            raise CannotLift(
                f"{type(self).__name__} is registered as attention written out, but no product of queries and keys, "
                f"softmax and product with values followed one another (it ended {pairs.step}); register it as "
                "Family('set'), or use attention='slice'"
            )
        return out


class PairsOfSlices(TorchFunctionMode):
    """Active during one forward of one layer."""

    def __init__(self, fold: Fold, window: Literal["joint"] | int) -> None:
        super().__init__()
        self.fold = fold
        self.runs = runs_of_slices(fold.depth, window, fold.attended)
        self.step: Literal["unscored", "scored", "weighed", "mixed"] = "unscored"
        self.asking: list[int] = []
        self.answering: list[int] = []
        for first, windows, size in self.runs:
            for start in range(first, first + windows * size, size):
                seen = range(start, start + size)
                self.asking += [one for one in seen for _ in seen]
                self.answering += [other for _ in seen for other in seen]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call of torch; the three steps of attention on pairs of slices."""
        kwargs = kwargs or {}
        if func in PRODUCTS and self._is_of_slices(args[1]):
            if self.step in ("unscored", "mixed") and self._is_of_slices(args[0]):
                self.step = "scored"
                return func(self._each(args[0], self.asking), self._each(args[1], self.answering))
            if self.step == "weighed":
                self.step = "mixed"
                return self._mean_over_seen(func(args[0], self._each(args[1], self.answering)))
        if self.step == "scored" and func in RESHAPES:
            args = self._of_pairs(*args)
        if self.step == "scored" and func is torch.einsum and self._is_of_slices(args[1]):  # bias made from queries
            args = (args[0], self._each(args[1], self.asking), *args[2:])
        if func in SOFTMAXES and self.step == "scored":
            self.step = "weighed"
            return self._over_seen(args[0], lambda scores: func(scores, *args[1:], **kwargs))
        return func(*args, **kwargs)

    def _is_of_slices(self, x: Tensor) -> bool:
        return x.ndim >= 3 and x.shape[0] % (self.fold.batch * self.fold.depth) == 0

    def _each(self, x: Tensor, slices: list[int]) -> Tensor:
        """(B*D*E, ...) to (B*pairs*E, ...)."""
        index = torch.tensor(slices, device=x.device)
        return torch.unflatten(x, 0, (self.fold.batch, self.fold.depth, -1)).index_select(1, index).flatten(0, 2)

    def _of_pairs(self, x: Tensor, *shape: Any) -> tuple[Any, ...]:
        """A shape for scores that counts on B*D*E in front, where there are B*pairs*E."""
        sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else list(shape)
        pairs, depth = len(self.asking), self.fold.depth
        scores = x.ndim >= 4 and x.shape[0] % (self.fold.batch * pairs) == 0 and sizes[0] % depth == 0
        given, wanted = (x.shape[0], sizes[0]) if -1 in sizes else (x.numel(), math.prod(sizes))
        if scores and wanted * pairs == given * depth:
            sizes[0] = sizes[0] * pairs // depth
        return (x, *sizes)

    def _runs(self, x: Tensor) -> list[Tensor]:
        """(B*pairs*E, ...) to (B, windows, asking, answering, E, ...), for each run of windows of one size."""
        view = torch.unflatten(x, 0, (self.fold.batch, len(self.asking), -1))
        parts = view.split([windows * size * size for _, windows, size in self.runs], 1)
        return [
            torch.unflatten(part, 1, (windows, size, size))
            for part, (_, windows, size) in zip(parts, self.runs, strict=True)
        ]

    def _over_seen(self, scores: Tensor, softmax: Callable[[Tensor], Tensor]) -> Tensor:
        parts = []
        for run in self._runs(scores):
            wide = run.movedim(3, -2)  # (B, windows, asking, E, ..., answering, K)
            weights = softmax(wide.flatten(-2, -1).flatten(0, 3)) * run.shape[3]
            weights = torch.unflatten(torch.unflatten(weights, 0, wide.shape[:4]), -1, wide.shape[-2:])
            parts.append(weights.movedim(-2, 3).flatten(1, 3))
        return torch.cat(parts, 1).flatten(0, 2)

    def _mean_over_seen(self, mixed: Tensor) -> Tensor:
        return torch.cat([run.mean(3).flatten(1, 2) for run in self._runs(mixed)], 1).flatten(0, 2)
