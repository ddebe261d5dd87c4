"""Attention across slices: the tokens of several slices side by side in one call, prefix tokens included."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import Fold, by_depth

Attend = Callable[..., Tensor]
"""torch's scaled_dot_product_attention, or what stands in for it."""


def runs_of_slices(depth: int, window: Literal["joint"] | int, turn: int) -> list[tuple[int, int, int]]:
    """Cut `depth` slices into windows.

    Every other turn the cuts move by half a window, so that neighbours on either side of a cut meet in the next layer
    (as in Swin, but windows at the ends are smaller instead of wrapped and masked).

    Returns:
        (first slice, number of windows, slices per window), in order, covering every slice once.
    """
    if window == "joint" or window >= depth:
        return [(0, 1, depth)]
    shift = window // 2 if turn % 2 else 0
    runs = [(0, 1, shift)] if shift else []
    whole = (depth - shift) // window
    if whole:
        runs.append((shift, whole, window))
    rest = depth - shift - whole * window
    if rest:
        runs.append((depth - rest, 1, rest))
    return runs


def attend_across_slices(
    attend: Attend,
    fold: Fold,
    window: Literal["joint"] | int,
    query: Float[Tensor, "n *heads q c"],
    key: Float[Tensor, "n *heads k c"],
    value: Float[Tensor, "n *heads k c2"],
    attn_mask: Tensor | None = None,
    **options: Any,
) -> Float[Tensor, "n *heads q c2"]:
    """scaled_dot_product_attention in which the tokens of a window of slices see one another.

    Masks and bias tables are laid out again for each pair of slices, so that a volume of one slice repeated gives the
    2D answer: its softmax runs over equal copies.
    """
    parts = []
    runs = runs_of_slices(fold.depth, window, fold.attended)
    for first, windows, size in runs:
        joined = [side_by_side(t, first, windows, size) for t in (query, key, value)]
        mask = None if attn_mask is None else _mask(attn_mask, query, key, first, windows, size)
        answer = attend(*joined, attn_mask=mask, **options)
        parts.append(apart_again(answer, fold.batch, windows, size))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return whole.reshape(query.shape[0], *query.shape[1:-1], value.shape[-1])


def spans(query: Tensor, key: Tensor, value: Tensor, fold: Fold) -> bool:
    """Whether this call attends within slices: query, key and value of every slice, and nothing else in front."""
    alike = query.shape[0] == key.shape[0] == value.shape[0]
    return alike and query.ndim >= 3 and query.shape[0] % (fold.batch * fold.depth) == 0


def side_by_side(x: Tensor, first: int, windows: int, size: int, axis: int = -2) -> Tensor:
    """(B*D*E, ..., T, ...) to (B*windows*E, ..., size*T, ...), tokens on `axis`, counted from the end."""
    view = torch.unflatten(by_depth(x)[:, first : first + windows * size], 1, (windows, size))
    return view.movedim(2, axis - 1).flatten(axis - 1, axis).flatten(0, 2)


def apart_again(x: Tensor, batch: int, windows: int, size: int, axis: int = -2) -> Tensor:
    """(B*windows*E, ..., size*T, ...) to (B, windows*size, E, ..., T, ...)."""
    view = torch.unflatten(torch.unflatten(x, axis, (size, -1)), 0, (batch, windows, -1))
    return view.movedim(axis - 1, 2).flatten(1, 2)


def _mask(mask: Tensor, query: Tensor, key: Tensor, first: int, windows: int, size: int) -> Tensor:
    """The mask between the tokens of `size` slices, from the mask between the tokens of one."""
    if mask.ndim == query.ndim and mask.shape[0] == query.shape[0]:
        view = torch.unflatten(by_depth(mask)[:, first : first + windows * size], 1, (windows, size))
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
