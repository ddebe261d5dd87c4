"""Find out, by running a lifted network, which of its attention spans slices and which stays within each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from dimlift.lifting.layer_selection import is_innermost_attention
from dimlift.lifting.layers.attention.call_interceptor import Spanning


@dataclass
class Hearing:
    """What was heard.

    Attributes:
        spanned: layers, and what they are part of, in which attention was made to span slices.
        kept: layers whose attention was computed in a way that cannot be reached from outside.
    """

    spanned: set[str] = field(default_factory=set)
    kept: dict[str, None] = field(default_factory=dict)


@contextmanager
def hearing_attention(network: nn.Module, listener: Spanning) -> Iterator[Hearing]:
    """While it lasts, note for every forward of the network which layers attend, and whether across slices."""
    heard = Hearing()
    under_way: list[str] = []

    def spanned(kind: str) -> None:
        if "attention" in kind:
            heard.spanned.update(under_way)

    def kept() -> None:
        heard.kept.setdefault(next(name for name in reversed(under_way) if not _is_softmax(network, name)))

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object) -> None:
            if not name:  # a forward before this one may have broken off
                under_way.clear()
            under_way.append(name)

        return hook

    def leave(name: str, attends: bool) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            under_way.pop()
            if attends and name not in heard.spanned and not any(k.startswith(f"{name}.") for k in heard.kept):
                heard.kept.setdefault(name)

        return hook

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave(name, is_innermost_attention(module)), prepend=True))
    before = listener.seen, listener.kept
    listener.seen, listener.kept = spanned, kept
    try:
        yield heard
    finally:
        listener.seen, listener.kept = before
        for hook in hooks:
            hook.remove()


def _is_softmax(network: nn.Module, name: str) -> bool:
    return bool(name) and isinstance(network.get_submodule(name), nn.Softmax)
