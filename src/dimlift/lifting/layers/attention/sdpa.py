"""Attention across slices through scaled_dot_product_attention: the tokens of several slices in one call."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import Fold, count_attention_call, current_fold, split_depth
from dimlift.lifting.layers.call_interceptor import (
    SOFTMAXES,
    TorchFunction,
    attention_arguments,
    first_argument,
    notify_skipped,
    notify_spanned,
)

Attend = Callable[..., Tensor]
"""A function with the signature of scaled_dot_product_attention."""


class AttentionSpanning:
    """Call handler: attention within slices becomes attention across the slices of a window.

    A softmax outside scaled_dot_product_attention, and torch's own layer, which is one opaque call, are reported as
    attention that stays within its slice.

    Args:
        window: number of slices whose tokens attend to one another, or "volume" for all.
    """

    functions = (F.scaled_dot_product_attention, F.multi_head_attention_forward, *SOFTMAXES)

    def __init__(self, window: Literal["volume"] | int) -> None:
        self.window = window

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Attend across slices where the call attends within slices."""
        fold = current_fold()
        if function is not F.scaled_dot_product_attention:
            opaque = function is F.multi_head_attention_forward or first_argument(args, kwargs).ndim >= 3
            if opaque and not fold.suspended:
                notify_skipped()
            return function(*args, **kwargs)
        arguments = attention_arguments(args, kwargs)
        if fold.suspended:
            return function(**arguments)
        query, key, value = (arguments[name] for name in ("query", "key", "value"))
        if arguments.get("is_causal") or not is_slice_attention(query, key, value, fold):
            notify_skipped()
            return function(**arguments)
        count_attention_call()
        notify_spanned(describe_attention(self.window))
        return attend_across_slices(function, fold, self.window, **arguments)


def describe_attention(window: Literal["volume"] | int) -> str:
    """Return the certificate's words for attention across slices."""
    return "joint attention" if window == "volume" else f"attention over windows of {window} slices"


def slice_windows(depth: int, window: Literal["volume"] | int, layer: int) -> list[tuple[int, int, int]]:
    """Partition `depth` slices into windows.

    In every other layer the borders move by half a window, so that slices on either side of a border attend to each
    other in the next layer. Windows at the ends are smaller (Swin wraps and masks them instead).

    Args:
        depth: number of slices.
        window: slices per window, or "volume" for all.
        layer: index of the attention layer.

    Returns:
        (first slice, number of windows, slices per window) of each group of equal windows, in order, covering every
        slice once.
    """
    if window == "volume" or window >= depth:
        return [(0, 1, depth)]
    shift = window // 2 if layer % 2 else 0
    groups = [(0, 1, shift)] if shift else []
    count = (depth - shift) // window
    if count:
        groups.append((shift, count, window))
    rest = depth - shift - count * window
    if rest:
        groups.append((depth - rest, 1, rest))
    return groups


def attend_across_slices(
    attend: Attend,
    fold: Fold,
    window: Literal["volume"] | int,
    query: Float[Tensor, "n *heads q c"],
    key: Float[Tensor, "n *heads k c"],
    value: Float[Tensor, "n *heads k c2"],
    attn_mask: Tensor | None = None,
    **options: Any,
) -> Float[Tensor, "n *heads q c2"]:
    """Run scaled_dot_product_attention over the tokens of all slices of each window.

    Masks and bias tables are repeated for each pair of slices. On a volume of one repeated slice the softmax runs over
    equal copies, so the output equals that in 2D.
    """
    parts = []
    for first, windows, size in slice_windows(fold.depth, window, fold.attention_calls):
        joined = [join_slices(tensor, first, windows, size) for tensor in (query, key, value)]
        mask = None if attn_mask is None else _join_mask(attn_mask, query, key, first, windows, size)
        out = attend(*joined, attn_mask=mask, **options)
        parts.append(split_slices(out, fold.batch, windows, size))
    joined_parts = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return joined_parts.reshape(query.shape[0], *query.shape[1:-1], value.shape[-1])


def is_slice_attention(query: Tensor, key: Tensor, value: Tensor, fold: Fold) -> bool:
    """Whether a call attends within slices: the leading axis of query, key and value is B*D*E."""
    same_leading_size = query.shape[0] == key.shape[0] == value.shape[0]
    return same_leading_size and query.ndim >= 3 and query.shape[0] % (fold.batch * fold.depth) == 0


def join_slices(x: Tensor, first: int, windows: int, size: int, axis: int = -2) -> Tensor:
    """Reshape (B*D*E, ..., T, ...) to (B*windows*E, ..., size*T, ...); `axis` of the tokens counts from the end."""
    view = torch.unflatten(split_depth(x)[:, first : first + windows * size], 1, (windows, size))
    return view.movedim(2, axis - 1).flatten(axis - 1, axis).flatten(0, 2)


def split_slices(x: Tensor, batch: int, windows: int, size: int, axis: int = -2) -> Tensor:
    """Reshape (B*windows*E, ..., size*T, ...) to (B, windows*size, E, ..., T, ...); the inverse of `join_slices`."""
    view = torch.unflatten(torch.unflatten(x, axis, (size, -1)), 0, (batch, windows, -1))
    return view.movedim(axis - 1, 2).flatten(1, 2)


def _join_mask(mask: Tensor, query: Tensor, key: Tensor, first: int, windows: int, size: int) -> Tensor:
    """Return the mask between the tokens of `size` slices, given the mask between those of one."""
    if mask.ndim == query.ndim and mask.shape[0] == query.shape[0]:
        view = torch.unflatten(split_depth(mask)[:, first : first + windows * size], 1, (windows, size))
        mask = view.movedim(2, -3).flatten(0, 2)  # (B*windows*E, *heads, size, T, K)
    else:
        mask = mask.unsqueeze(-3)  # (..., 1, T, K): the same for every slice
    rows, columns = mask.shape[-2], mask.shape[-1]
    mask = mask.unsqueeze(-2)  # (..., size or 1, T, 1, K)
    if rows == query.shape[-2]:
        mask = mask.expand(*mask.shape[:-4], size, *mask.shape[-3:])
    if columns == key.shape[-2]:
        mask = mask.expand(*mask.shape[:-2], size, columns)
    return mask.flatten(-4, -3).flatten(-2, -1)
