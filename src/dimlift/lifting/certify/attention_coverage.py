"""Record, during forwards of a lifted network, which attention spans slices and which stays within its slice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from dimlift.lifting.layer_selection import is_leaf_attention
from dimlift.lifting.layers.call_interceptor import observe_spanning
from dimlift.lifting.registry import registration_hint


@dataclass
class AttentionCoverage:
    """Modules by whether their attention spans slices.

    Attributes:
        spanned: names of modules in which attention was made to span slices, and of their parents.
        skipped: names of layers whose attention is computed in a way that cannot be intercepted, in order.
    """

    spanned: set[str] = field(default_factory=set)
    skipped: dict[str, None] = field(default_factory=dict)


@contextmanager
def record_attention(network: nn.Module) -> Iterator[AttentionCoverage]:
    """Record, while active, the attention of every forward of a lifted network's `network`."""
    coverage = AttentionCoverage()
    running: list[str] = []

    def on_spanned(description: str) -> None:
        if "attention" in description:
            coverage.spanned.update(running)

    def on_skipped() -> None:
        coverage.skipped.setdefault(next(name for name in reversed(running) if not _is_softmax(network, name)))

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object) -> None:
            if not name:  # a previous forward may have raised
                running.clear()
            running.append(name)

        return hook

    def leave(name: str, attends: bool) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            running.pop()
            recorded = any(inner.startswith(f"{name}.") for inner in coverage.skipped)
            if attends and name not in coverage.spanned and not recorded:
                coverage.skipped.setdefault(name)

        return hook

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave(name, is_leaf_attention(module)), prepend=True))
    try:
        with observe_spanning(on_spanned, on_skipped):
            yield coverage
    finally:
        for hook in hooks:
            hook.remove()


def _is_softmax(network: nn.Module, name: str) -> bool:
    return bool(name) and isinstance(network.get_submodule(name), nn.Softmax)


def unspanned_note(network: nn.Module, names: Sequence[str]) -> str:
    """Describe the layers whose attention stays within each slice, with how to register the first of them."""
    return (
        f"attention stays within each slice in {len(names)} layer(s) that do not compute it with "
        f"scaled_dot_product_attention: {', '.join(names)}{attention_hint(network, names)}"
    )


def attention_hint(network: nn.Module, names: Sequence[str]) -> str:
    """Return how to register the class of the first of these layers, as a clause; empty if there are none."""
    if not names:
        return ""
    cls = type(network.get_submodule(names[0]))
    name = f"{cls.__module__.split('.')[-1]}.{cls.__qualname__}"
    hint = registration_hint("attention", name)
    return f"; if {cls.__name__} computes attention manually or over a set of tokens, {hint}"
