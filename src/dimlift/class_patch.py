"""Patch the class of a live module with a mixin, so that its forward changes and everything else stays."""

import functools
from collections.abc import Callable
from typing import Any

from torch import nn


def patch_class(module: nn.Module, mixin: type) -> None:
    """Insert a mixin in front of a module's class; `super().forward` in the mixin is the module's own forward.

    Parameters, buffers, hooks and the class name are kept; a mixin may prefix the name by `name_prefix`. Patched
    modules can be copied and pickled like any other.

    Args:
        module: changed in place.
        mixin: a class defined at module level.
    """
    module.__class__ = _patched_class(mixin, type(module))  # type: ignore[arg-type]  # a class hashes by identity


@functools.cache
def _patched_class(mixin: type, cls: type[nn.Module]) -> type[nn.Module]:
    outer, dot, name = cls.__qualname__.rpartition(".")
    name = getattr(mixin, "name_prefix", "") + name
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": outer + dot + name}
    body |= {"__reduce_ex__": _reduce_patched, "_patched_from": (mixin, cls)}
    return type(name, (mixin, cls), body)


def _reduce_patched(module: nn.Module, protocol: Any) -> tuple[Any, ...]:
    """Pickle a patched module as its original class and its mixins: patched classes cannot be imported by name."""
    mixins: list[type] = []
    patched = cls = type(module)
    while "_patched_from" in cls.__dict__:
        mixin, cls = cls.__dict__["_patched_from"]
        mixins.insert(0, mixin)
    reduced: Any = cls.__reduce_ex__(module, max(protocol, 2))
    construct, arguments, *state = reduced
    arguments = tuple(cls if argument is patched else argument for argument in arguments)
    return rebuild_patched, (tuple(mixins), construct, arguments), *state


def rebuild_patched(
    mixins: tuple[type, ...], construct: Callable[..., nn.Module], arguments: tuple[Any, ...]
) -> nn.Module:
    """Create the module that `patch_class` changed, without its state; the inverse of pickling."""
    module = construct(*arguments)
    for mixin in mixins:
        patch_class(module, mixin)
    return module
