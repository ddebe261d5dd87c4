"""Layers that need a hand: what to do with every layer of a class when its network is lifted."""

from collections.abc import Callable
from typing import Any

from torch import nn

Hand = Callable[[Any], None]
"""Changes one layer in place, so that the leading axis within it is batch * depth * anything, in this order."""

HANDS: dict[str, Hand] = {}
"""By class name, so that no library need be imported to know its layers."""


def register_layer(name: str, hand: Hand) -> None:
    """Teach dimlift a layer that mixes the rows of its batch: `hand` is called with each one of this class."""
    HANDS[name] = hand


def lend_hands(network: nn.Module) -> list[str]:
    """Change, in place, every layer that somebody registered.

    Returns:
        Their names.
    """
    found = [(name, module) for name, module in network.named_modules() if type(module).__name__ in HANDS]
    for _, module in found:
        HANDS[type(module).__name__](module)
    return [name for name, _ in found]
