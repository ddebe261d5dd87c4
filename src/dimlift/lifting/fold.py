"""Fold depth into the batch and back, and track how it is folded during a forward.

A layer that mixes along depth needs the batch size B and the depth D. The leading size does not determine them: two
volumes of three slices and three of two have the same one, and a layer may fold heads or windows into it as well, so
that it is B*D*E.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from dimlift.errors import ShapeError


class Fold(NamedTuple):
    """How the leading axis of the tensors inside a network is composed: batch * depth (* extra).

    Attributes:
        batch: number of volumes.
        depth: number of slices of each, at this point of the forward.
        initial_size: leading size of the network's input; larger than batch * depth once depth was pooled.
        attention_calls: number of attention calls so far, for windows that move from layer to layer.
        grid: (height, width) of the patch grid of a slice, once known.
        branch_depths: numbers of slices before and after the layers that stride along depth so far: another branch of
            the same block may still hold the earlier number.
        suspended: whether the current layer joins slices itself, so that calls inside it are left unchanged.
    """

    batch: int
    depth: int
    initial_size: int
    attention_calls: int = 0
    grid: tuple[int, int] | None = None
    branch_depths: tuple[int, ...] = ()
    suspended: bool = False


class _Forward(threading.local):
    """The fold of this thread's current forward and the interceptor that is active in it."""

    fold: Fold | None = None
    interceptor: AbstractContextManager[Any] | None = None


_forward = _Forward()


def current_fold() -> Fold:
    """Return the fold of the current forward.

    Raises:
        ShapeError: outside a lifted network's forward, where the number of slices is unknown.
    """
    fold = _forward.fold
    if fold is None:
        raise ShapeError(
            "a layer that mixes along depth ran outside its lifted network's forward, so its depth is unknown; "
            "call the LiftedModule itself, and enable gradient checkpointing by its set_grad_checkpointing()"
        )
    return fold


def set_depth(depth: int) -> None:
    """Set the number of slices of a volume from this point of the forward on."""
    _forward.fold = current_fold()._replace(depth=depth)


def stride_depth(depth: int) -> None:
    """Set the number of slices after a layer that strides along depth, in one branch of a block."""
    fold = current_fold()
    _forward.fold = fold._replace(depth=depth, branch_depths=(*fold.branch_depths, fold.depth, depth))


def follow_branch(x: Shaped[Tensor, " leading *rest"]) -> None:
    """Set the number of slices to that of a tensor (B*D, ...) from another branch than the layer that ran last.

    Does nothing unless a layer strided along depth and the tensor has a number of slices from before or after it.
    """
    fold = current_fold()
    depth = x.shape[0] // fold.batch  # torch.compile does not trace divmod
    if x.shape[0] == depth * fold.batch and depth != fold.depth and depth in fold.branch_depths:
        set_depth(depth)


def set_patch_grid(height: int, width: int) -> None:
    """Set the patch grid of a slice."""
    _forward.fold = current_fold()._replace(grid=(height, width))


def count_attention_call() -> None:
    """Increment the number of attention calls."""
    fold = current_fold()
    _forward.fold = fold._replace(attention_calls=fold.attention_calls + 1)


@contextmanager
def suspend_interception() -> Iterator[None]:
    """While active, calls inside the current layer do not span slices: the layer joins them itself."""
    _forward.fold = current_fold()._replace(suspended=True)
    try:
        yield
    finally:
        _forward.fold = current_fold()._replace(suspended=False)


@contextmanager
def fold_context(fold: Fold, interceptor: AbstractContextManager[Any] | None = None) -> Iterator[None]:
    """Run a network, or a checkpointed part of one, on folded tensors; the previous fold is restored afterwards.

    Args:
        fold: how the tensors are folded at the start.
        interceptor: context manager that intercepts the calls inside; it is entered as well.
    """
    before = _forward.fold, _forward.interceptor
    _forward.fold, _forward.interceptor = fold, interceptor
    try:
        if interceptor is None:
            yield
        else:
            with interceptor:
                yield
    finally:
        _forward.fold, _forward.interceptor = before


def bind_fold(function: Callable[..., Any]) -> Callable[..., Any]:
    """Bind the current fold to a function that gradient checkpointing calls again after the forward.

    The first call belongs to the forward, and changes the current fold as the plain function does.
    """
    fold, interceptor = _forward.fold, _forward.interceptor
    if fold is None:
        return function
    is_first = True

    def bound(*args: Any, **kwargs: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            return function(*args, **kwargs)
        with fold_context(fold, interceptor):
            return function(*args, **kwargs)

    return bound


def fold(
    volume: Shaped[Tensor, "batch channel depth height width"],
) -> Shaped[Tensor, "batch*depth channel height width"]:
    """Fold depth into the batch: a view of channels-last memory (or of one channel), otherwise one copy."""
    batch, channels, depth, height, width = volume.shape
    if channels > 1:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
    return volume.transpose(1, 2).reshape(batch * depth, channels, height, width)


def unfold(
    slices: Shaped[Tensor, "batch*depth channel height width"], batch: int
) -> Shaped[Tensor, "batch channel depth height width"]:
    """Return volumes as a view of folded slices."""
    return slices.unflatten(0, (batch, -1)).transpose(1, 2)


def split_depth(x: Shaped[Tensor, " leading *rest"]) -> Shaped[Tensor, " batch depth extra *rest"]:
    """Return a view of a tensor inside the network with its leading axis split.

    Raises:
        ShapeError: if the leading size is not a multiple of batch * depth.
    """
    batch, depth = current_fold()[:2]
    if x.shape[0] % (batch * depth):
        raise ShapeError(
            f"a tensor with leading size {x.shape[0]} cannot hold {batch} volumes of {depth} slices; "
            "the layer that made it mixes slices itself, so leave it out of the plan (kernel={name: size})"
        )
    return torch.unflatten(x, 0, (batch, depth, -1))  # Tensor.unflatten breaks a compiled graph
