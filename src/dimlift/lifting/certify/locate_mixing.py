"""Which layer lets slices mix that should stay apart: found by watching every layer of a lifted network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.lifting.certify.equivalence import Trial, tolerance_of
from dimlift.lifting.fold import current_fold

Look = Callable[[list[Tensor]], bool]
"""Whether these tensors, taken apart as (batch, depth, ...), are as they should be."""


def mixing_layer(lifted: nn.Module, trial: Trial, apart: bool) -> tuple[str, str] | None:
    """The first layer that takes what is right and hands on what is wrong.

    Args:
        lifted: the lifted network, in eval mode; `network` in it is looked at.
        trial: what it was tried on.
        apart: whether slices should not hear one another at all. Then all slices but the first are changed, and nothing
            of the first may move; else one slice is repeated, and all must stay alike.

    Returns:
        Its name, and the name of its class; None if slices do not mix anywhere.
    """
    limit = tolerance_of(trial.slices)
    if not apart:
        return _first_wrong(
            lifted, trial.volume(True), lambda tensors: all(_alike(t[:, :1], t, limit) for t in tensors)
        )
    seen: list[list[Tensor]] = []

    def note(tensors: list[Tensor]) -> bool:
        seen.append([tensor[:, 0].clone() for tensor in tensors])
        return True

    volume = trial.volume(False).clone()
    _first_wrong(lifted, volume, note)
    volume[:, :, 1:] *= -2
    before = iter(seen)
    return _first_wrong(
        lifted,
        volume,
        lambda tensors: all(_alike(a, t[:, 0], limit) for a, t in zip(next(before), tensors, strict=False)),
    )


def _alike(a: Tensor, b: Tensor, limit: float) -> bool:
    if not a.is_floating_point() or a.numel() == 0:
        return True
    return bool((a - b).abs().max() <= limit * a.abs().max())


def _first_wrong(lifted: nn.Module, volume: Tensor, look: Look) -> tuple[str, str] | None:
    network: Any = lifted.network
    with _watching(network, look) as wrong, torch.no_grad():
        lifted(volume)
    if not wrong:
        return None
    return wrong[0] or "the network itself", type(network.get_submodule(wrong[0])).__name__


@contextmanager
def _watching(network: nn.Module, look: Look) -> Iterator[list[str]]:
    """While it lasts, collect the layers at which something is wrong: that of a layer's input is its owner's doing."""
    wrong: list[str] = []
    under_way: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            if not look(_by_depth(inputs)):
                wrong.append(under_way[-1] if under_way else name)
            under_way.append(name)

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        name = under_way.pop()
        if not look(_by_depth(output)):
            wrong.append(name)

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield wrong
    finally:
        for hook in hooks:
            hook.remove()


def _by_depth(value: Any) -> list[Tensor]:
    """Every tensor in it whose leading axis holds whole volumes."""
    if isinstance(value, Tensor):
        batch, depth = current_fold()[:2]
        whole = value.ndim > 1 and value.shape[0] > 0 and value.shape[0] % (batch * depth) == 0
        return [value.unflatten(0, (batch, depth, -1))] if whole else []
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _by_depth(part)]
    return []
