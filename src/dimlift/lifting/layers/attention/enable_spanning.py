"""Attention across slices for registered layers that do not call scaled_dot_product_attention."""

from typing import Literal

from torch import nn

from dimlift.class_patch import patch_class
from dimlift.lifting.layers.attention.manual_attention import ManualAttention
from dimlift.lifting.layers.attention.token_set import TokenSetAttention
from dimlift.lifting.registry import attention_type


def enable_spanning(network: nn.Module, window: Literal["volume"] | int) -> tuple[str, ...]:
    """Let every registered attention layer span slices.

    Args:
        network: changed in place; its layers keep their names and parameters.
        window: number of slices whose tokens attend to one another, or "volume" for all.

    Returns:
        Names of these layers.
    """
    names = []
    for name, layer in list(network.named_modules()):
        found = attention_type(layer)
        if found is None:
            continue
        patch_class(layer, TokenSetAttention if found.kind == "token_set" else ManualAttention)
        layer.slice_window = window
        if found.kind == "token_set":
            layer.token_axis = found.token_axis
        names.append(name)
    return tuple(names)
