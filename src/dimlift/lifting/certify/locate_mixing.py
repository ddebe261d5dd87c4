"""Locate the layer in which slices mix although they should not, by checking every layer of a lifted network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.lifting.certify.equivalence import EquivalenceCheck, tolerance_of
from dimlift.lifting.fold import current_fold

SliceCheck = Callable[[list[Tensor]], bool]
"""Whether the slices of these tensors, each split as (batch, depth, ...), are correct."""


def find_mixing_layer(lifted: nn.Module, check: EquivalenceCheck, independent: bool) -> tuple[str, str] | None:
    """Return the first layer with correct input and incorrect output.

    Args:
        lifted: the lifted network in eval mode; the layers of its `network` are checked.
        check: the input of the equivalence check.
        independent: if True, slices must not depend on one another: all slices but the first are changed, and the
            first must stay the same in every layer. If False, one slice is repeated, and all must stay equal.

    Returns:
        Name and class name of the layer; None if slices do not mix.
    """
    limit = tolerance_of(check.slices)
    if not independent:
        return _first_incorrect(
            lifted, check.volume(True), lambda tensors: all(_is_close(t[:, :1], t, limit) for t in tensors)
        )
    recorded: list[list[Tensor]] = []

    def record(tensors: list[Tensor]) -> bool:
        recorded.append([tensor[:, 0].clone() for tensor in tensors])
        return True

    volume = check.volume(False).clone()
    _first_incorrect(lifted, volume, record)
    volume[:, :, 1:] *= -2
    before = iter(recorded)
    return _first_incorrect(
        lifted,
        volume,
        lambda tensors: all(_is_close(a, t[:, 0], limit) for a, t in zip(next(before), tensors, strict=False)),
    )


def _is_close(a: Tensor, b: Tensor, limit: float) -> bool:
    if not a.is_floating_point() or a.numel() == 0:
        return True
    return bool((a - b).abs().max() <= limit * a.abs().max())


def _first_incorrect(lifted: nn.Module, volume: Tensor, check: SliceCheck) -> tuple[str, str] | None:
    network: Any = lifted.network
    with _record_incorrect(network, check) as names, torch.no_grad():
        lifted(volume)
    if not names:
        return None
    return names[0] or "the network itself", type(network.get_submodule(names[0])).__name__


@contextmanager
def _record_incorrect(network: nn.Module, check: SliceCheck) -> Iterator[list[str]]:
    """Record, while active, the layers that fail a check; an incorrect input is attributed to the parent module."""
    incorrect: list[str] = []
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            if not check(_split_tensors(inputs)):
                incorrect.append(running[-1] if running else name)
            running.append(name)

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        name = running.pop()
        if not check(_split_tensors(output)):
            incorrect.append(name)

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield incorrect
    finally:
        for hook in hooks:
            hook.remove()


def _split_tensors(value: Any) -> list[Tensor]:
    """Return every tensor in a nested value whose leading axis holds complete volumes, split by depth."""
    if isinstance(value, Tensor):
        batch, depth = current_fold()[:2]
        is_complete = value.ndim > 1 and value.shape[0] > 0 and value.shape[0] % (batch * depth) == 0
        return [value.unflatten(0, (batch, depth, -1))] if is_complete else []
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _split_tensors(part)]
    return []
