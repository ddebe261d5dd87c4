"""Fold depth into the batch and back, and remember how it was folded while a network runs.

A layer that lets slices talk must know B and D: the leading size alone does not tell (2 volumes of 3 slices and 3 of 2
look alike), nor is it always B*D (a layer may have folded heads or windows into it as well: B*D*extra).
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
    """How the leading axis of every tensor inside the network is made up: batch * depth (* anything).

    Attributes:
        batch: volumes.
        depth: slices of each, here and now.
        begun: leading size the network was given; smaller by now if depth was reduced.
        attended: attention calls so far, for windows that move from layer to layer.
        grid: (height, width) of what the convolution that reads the image handed out: the patches of a slice.
        alone: a layer that lays slices side by side by itself is under way; calls inside it are left as they are.
    """

    batch: int
    depth: int
    begun: int
    attended: int = 0
    grid: tuple[int, int] | None = None
    alone: bool = False


class _Forward(threading.local):
    """The fold of the forward under way in this thread."""

    fold: Fold | None = None
    listener: AbstractContextManager[Any] | None = None


_forward = _Forward()


def current_fold() -> Fold:
    """The fold of the forward under way.

    Raises:
        ShapeError: outside a lifted network's forward, where nobody can know how many slices a volume has.
    """
    fold = _forward.fold
    if fold is None:
        raise ShapeError(
            "a layer that lets slices talk ran outside its lifted network's forward, so its depth is not known; "
            "call the whole Lifted network, and switch on gradient checkpointing by its set_grad_checkpointing()"
        )
    return fold


def set_depth(depth: int) -> None:
    """Say that from here on a volume has `depth` slices (after a tubelet or a reduction)."""
    _forward.fold = current_fold()._replace(depth=depth)


def set_grid(height: int, width: int) -> None:
    """Say into how many patches a slice was cut."""
    _forward.fold = current_fold()._replace(grid=(height, width))


def count_attention() -> None:
    """Say that one more attention call was made."""
    fold = current_fold()
    _forward.fold = fold._replace(attended=fold.attended + 1)


def current_listener() -> AbstractContextManager[Any] | None:
    """What sees the calls of the forward under way; None if nothing has to."""
    return _forward.listener


@contextmanager
def left_alone() -> Iterator[None]:
    """While it lasts, what spans slices is done by the layer under way, and no call inside it is made to span."""
    _forward.fold = current_fold()._replace(alone=True)
    try:
        yield
    finally:
        _forward.fold = current_fold()._replace(alone=False)


@contextmanager
def folded_as(fold: Fold, listener: AbstractContextManager[Any] | None = None) -> Iterator[None]:
    """Run a network, or a checkpointed part of one, on tensors folded so. What was before is put back after.

    Args:
        fold: how the tensors are folded when it starts.
        listener: entered as well: what sees the calls made inside.
    """
    before, heard = _forward.fold, _forward.listener
    _forward.fold, _forward.listener = fold, listener
    try:
        if listener is None:
            yield
        else:
            with listener:
                yield
    finally:
        _forward.fold, _forward.listener = before, heard


def remember_fold(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with today's fold tied to it, so that gradient checkpointing may call it again after the forward.

    The first call is the forward's own, and leaves a changed depth behind as the plain function would.
    """
    fold, listener = _forward.fold, _forward.listener
    if fold is None:
        return function
    first = True

    def again(*args: Any, **kwargs: Any) -> Any:
        nonlocal first
        if first:
            first = False
            return function(*args, **kwargs)
        with folded_as(fold, listener):
            return function(*args, **kwargs)

    return again


def fold(
    volume: Shaped[Tensor, "batch channel depth height width"],
) -> Shaped[Tensor, "batch*depth channel height width"]:
    """Slices side by side. A view where the memory is channels-last (or has one channel); else one copy makes it so."""
    batch, channels, depth, height, width = volume.shape
    if channels > 1:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
    return volume.transpose(1, 2).reshape(batch * depth, channels, height, width)


def unfold(
    slices: Shaped[Tensor, "batch*depth channel height width"], batch: int
) -> Shaped[Tensor, "batch channel depth height width"]:
    """Volumes again: a view, whatever the memory."""
    return slices.unflatten(0, (batch, -1)).transpose(1, 2)


def by_depth(x: Shaped[Tensor, " leading *rest"]) -> Shaped[Tensor, " batch depth extra *rest"]:
    """A view of any tensor inside the network with its leading axis taken apart.

    Raises:
        ShapeError: if the leading size is not a multiple of batch * depth.
    """
    batch, depth = current_fold()[:2]
    if x.shape[0] % (batch * depth):
        raise ShapeError(
            f"a tensor with leading size {x.shape[0]} cannot hold {batch} volumes of {depth} slices; "
            "the layer that made it mixes slices on its own, so leave it out of the plan (kernel={name: size})"
        )
    return torch.unflatten(x, 0, (batch, depth, -1))  # the method of that name breaks a compiled graph
