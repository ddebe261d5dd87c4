"""Attention that does not go through scaled_dot_product_attention: which layers, and what lets each span slices.

A layer is known by the end of its class's full name ("swin_transformer_v2.WindowAttention"). One line here, or one call
of `register_attention`, is all a new family needs: its own forward runs, on tokens of several slices.
"""

from typing import Literal, NamedTuple

from torch import nn

from dimlift.lifting.layers.attention.manual_attention import WrittenOut
from dimlift.lifting.layers.attention.token_set import SetOfTokens
from dimlift.lifting.layers.class_patch import become


class Family(NamedTuple):
    """How a layer attends.

    Attributes:
        way: "set" if the layer does not care how many tokens there are nor in which order, so that it may be given
            those of several slices; "written" if it multiplies queries with keys, takes a softmax over the keys and
            multiplies with values, whatever it does in between (scales, bias tables, masks, mixing of heads).
        token_axis: for "set", the axis of its input that counts tokens.
    """

    way: Literal["set", "written"]
    token_axis: int = 1


FAMILIES: dict[str, Family] = {
    "activation.MultiheadAttention": Family("set"),
    "xcit.XCA": Family("set"),
    "edgenext.CrossCovarianceAttn": Family("set"),
    "mobilevit.LinearSelfAttention": Family("set", token_axis=3),
    "swin_transformer_v2.WindowAttention": Family("written"),
    "swin_transformer_v2_cr.WindowMultiHeadAttention": Family("written"),
    "torchvision.models.swin_transformer.ShiftedWindowAttention": Family("written"),
    "torchvision.models.swin_transformer.ShiftedWindowAttentionV2": Family("written"),
    "mvitv2.MultiScaleAttention": Family("written"),
    "cait.TalkingHeadAttn": Family("written"),
    "levit.Attention": Family("written"),
    "levit.AttentionDownsample": Family("written"),
    "efficientformer.Attention": Family("written"),
    "efficientformer_v2.Attention2d": Family("written"),
    "efficientformer_v2.Attention2dDownsample": Family("written"),
    "gcvit.WindowAttentionGlobal": Family("written"),
    "tnt.Attention": Family("written"),
    "crossvit.Attention": Family("written"),
    "crossvit.CrossAttention": Family("written"),
    "volo.ClassAttention": Family("written"),
}


def register_attention(name: str, family: Family) -> None:
    """Say how an attention layer of your own attends, so that it can span slices.

    Args:
        name: its class's name, with as much of the module in front as tells it from others.
        family: see `Family`. The law of constancy is tried on every lift, and says if this was wrong.
    """
    FAMILIES[name] = family


def family_of(layer: nn.Module) -> Family | None:
    """How a layer attends; None if nothing is known of it, or it goes through scaled_dot_product_attention."""
    cls = type(layer)
    full = f".{cls.__module__}.{cls.__qualname__}"
    found = next((family for name, family in FAMILIES.items() if full.endswith(f".{name}")), None)
    return None if getattr(layer, "batch_first", True) is False else found


def let_span(network: nn.Module, window: Literal["joint"] | int) -> tuple[str, ...]:
    """Let every layer of a known family span slices, in place.

    Args:
        network: its layers keep names and parameters.
        window: slices that see one another.

    Returns:
        Names of these layers.
    """
    names = []
    for name, layer in list(network.named_modules()):
        family = family_of(layer)
        if family is None:
            continue
        become(layer, SetOfTokens if family.way == "set" else WrittenOut)
        layer.slices_together = window
        if family.way == "set":
            layer.token_axis = family.token_axis
        names.append(name)
    return tuple(names)
