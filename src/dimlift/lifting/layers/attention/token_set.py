"""Attention over a set of tokens: the layer's own forward, given the tokens of several slices side by side."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.lifting.fold import count_attention, current_fold, left_alone
from dimlift.lifting.layers.attention.call_interceptor import tell_attention
from dimlift.lifting.layers.attention.sdpa import apart_again, runs_of_slices, side_by_side


class SetOfTokens(nn.Module):
    """Put before a layer's own forward, which takes tokens (B*D*E, ..., T, ...) and hands out as many.

    Attributes:
        slices_together: slices whose tokens see one another.
        token_axis: the axis of its input that counts tokens.
    """

    slices_together: Literal["joint"] | int
    token_axis: int

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the layer says about the tokens of each window of slices.

        Raises:
            ShapeError: if it is given a mask, which would have to know of the other slices.
        """
        if any(isinstance(value, Tensor) for name, value in options.items() if "mask" in name):
            raise ShapeError(
                f"{type(self).__name__} is given a mask beside its tokens, and only tokens can be laid side by side; "
                "use attention='slice'"
            )
        fold = current_fold()
        axis = self.token_axis - inputs[0].ndim
        tell_attention(self.slices_together)
        parts = []
        for first, windows, size in runs_of_slices(fold.depth, self.slices_together, fold.attended):
            laid: dict[int, Any] = {}  # a layer may ask whether its inputs are one and the same
            for value in (*inputs, *options.values()):
                if isinstance(value, Tensor) and id(value) not in laid:
                    laid[id(value)] = side_by_side(value, first, windows, size, axis)
            with left_alone():
                out = super().forward(
                    *(laid.get(id(value), value) for value in inputs),
                    **{name: laid.get(id(value), value) for name, value in options.items()},
                )
            tokens = out[0] if isinstance(out, tuple) else out  # beside them, the weights: of no use for one slice
            parts.append(apart_again(tokens, fold.batch, windows, size, axis))
        count_attention()
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        answer = whole.flatten(0, 2)
        return (answer, *[None] * (len(out) - 1)) if isinstance(out, tuple) else answer
