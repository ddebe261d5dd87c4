"""Attention across slices for layers that take any number of tokens in any order."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.lifting.fold import count_attention_call, current_fold, suspend_interception
from dimlift.lifting.layers.attention.sdpa import describe_attention, join_slices, slice_windows, split_slices
from dimlift.lifting.layers.call_interceptor import notify_spanned


class TokenSetAttention(nn.Module):
    """Mixin that runs a layer's own forward on the tokens of several slices at once.

    The layer maps tokens (B*D*E, ..., T, ...) to as many tokens.

    Attributes:
        slice_window: number of slices whose tokens attend to one another, or "volume" for all.
        token_axis: axis of the input that counts tokens.
    """

    slice_window: Literal["volume"] | int
    token_axis: int

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the layer's output for the joined tokens of each window, split into slices.

        Raises:
            ShapeError: if the layer is called with a mask, which does not cover the tokens of other slices.
        """
        if any(isinstance(value, Tensor) for name, value in options.items() if "mask" in name):
            raise ShapeError(
                f"{type(self).__name__} is called with a mask, which covers the tokens of one slice only; "
                "use attention='per_slice'"
            )
        fold = current_fold()
        axis = self.token_axis - inputs[0].ndim
        notify_spanned(describe_attention(self.slice_window))
        parts = []
        for first, windows, size in slice_windows(fold.depth, self.slice_window, fold.attention_calls):
            joined: dict[int, Any] = {}  # by identity: a layer may check whether its inputs are one tensor
            for value in (*inputs, *options.values()):
                if isinstance(value, Tensor) and id(value) not in joined:
                    joined[id(value)] = join_slices(value, first, windows, size, axis)
            with suspend_interception():
                out = super().forward(
                    *(joined.get(id(value), value) for value in inputs),
                    **{name: joined.get(id(value), value) for name, value in options.items()},
                )
            tokens = out[0] if isinstance(out, tuple) else out  # attention weights over several slices are dropped
            parts.append(split_slices(tokens, fold.batch, windows, size, axis))
        count_attention_call()
        tokens = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).flatten(0, 2)
        return (tokens, *[None] * (len(out) - 1)) if isinstance(out, tuple) else tokens
