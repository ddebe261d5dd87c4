"""Registry of the layers a lift has to know: convolutions, attention, stems, and layers that mix the batch axis.

A class is registered under the end of its full name: "MyConv2d", or "my_module.Attention" where the class name alone
does not identify it. No library is imported to register its layers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class ConvType:
    """What a subclass of nn.Conv2d does in addition to the convolution.

    Attributes:
        same_padding: whether a layer pads as TensorFlow's "same" does, from the size of its input.
        gain: for weight-standardised kernels, the factor (O,) on the standardised kernel; None for plain kernels.
    """

    same_padding: Callable[[Any], bool] = lambda conv: False
    gain: Callable[[Any], Tensor | float] | None = None


@dataclass(frozen=True)
class AttentionType:
    """How an attention layer that does not call scaled_dot_product_attention attends.

    Attributes:
        kind: "token_set" if the layer accepts any number of tokens in any order, so that it can be given those of
            several slices; "manual" if it multiplies queries with keys, takes a softmax over the keys and multiplies
            with the values, whatever it does in between (scales, bias tables, masks, mixing of heads).
        token_axis: for "token_set", the axis of its input that counts tokens.
    """

    kind: Literal["token_set", "manual"]
    token_axis: int = 1


Stem = Callable[[Any, nn.Conv2d | None], int]
"""(module that reads the image, first convolution of the network or None) -> channels of the image."""

LayerHandler = Callable[[Any], None]
"""Converts one layer in place so that its leading axis may be batch * depth * extra, in this order."""


def _scaled_gain(conv: Any) -> Tensor:
    return (conv.gain * conv.scale).flatten()


CONV_TYPES: dict[str, ConvType] = {
    "Conv2d": ConvType(),
    "Conv2dSame": ConvType(same_padding=lambda conv: True),
    "StdConv2d": ConvType(gain=lambda conv: 1.0),
    "StdConv2dSame": ConvType(same_padding=lambda conv: conv.same_pad, gain=lambda conv: 1.0),
    "ScaledStdConv2d": ConvType(gain=_scaled_gain),
    "ScaledStdConv2dSame": ConvType(same_padding=lambda conv: conv.same_pad, gain=_scaled_gain),
}

ATTENTION_TYPES: dict[str, AttentionType] = {
    "activation.MultiheadAttention": AttentionType("token_set"),
    "xcit.XCA": AttentionType("token_set"),
    "edgenext.CrossCovarianceAttn": AttentionType("token_set"),
    "mobilevit.LinearSelfAttention": AttentionType("token_set", token_axis=3),
    "swin_transformer_v2.WindowAttention": AttentionType("manual"),
    "swin_transformer_v2_cr.WindowMultiHeadAttention": AttentionType("manual"),
    "torchvision.models.swin_transformer.ShiftedWindowAttention": AttentionType("manual"),
    "torchvision.models.swin_transformer.ShiftedWindowAttentionV2": AttentionType("manual"),
    "mvitv2.MultiScaleAttention": AttentionType("manual"),
    "cait.TalkingHeadAttn": AttentionType("manual"),
    "levit.Attention": AttentionType("manual"),
    "levit.AttentionDownsample": AttentionType("manual"),
    "efficientformer.Attention": AttentionType("manual"),
    "efficientformer_v2.Attention2d": AttentionType("manual"),
    "efficientformer_v2.Attention2dDownsample": AttentionType("manual"),
    "gcvit.WindowAttentionGlobal": AttentionType("manual"),
    "tnt.Attention": AttentionType("manual"),
    "crossvit.Attention": AttentionType("manual"),
    "crossvit.CrossAttention": AttentionType("manual"),
    "volo.ClassAttention": AttentionType("manual"),
}

STEMS: dict[str, Stem] = {
    "SpaceToDepth": lambda module, first: 3 if first is None else first.in_channels // module.bs**2,  # TResNet
    "LearnableDct2d": lambda module, first: 3,  # CSATv2
    "NaFlexEmbeds": lambda module, first: module.in_chans,
    "Gemma4PatchEmbed": lambda module, first: module.input_proj.in_features // math.prod(module.patch_size),
}
"""Modules that read the image without a convolution: pixels moved to channels, or flattened patches."""

LAYER_HANDLERS: dict[str, LayerHandler] = {}


def register_conv(name: str, conv_type: ConvType) -> None:
    """Register a subclass of nn.Conv2d that overrides `forward`."""
    CONV_TYPES[name] = conv_type


def register_attention(name: str, attention_type: AttentionType) -> None:
    """Register an attention layer so that it can span slices. Every lift checks the law of constancy."""
    ATTENTION_TYPES[name] = attention_type


def register_stem(name: str, stem: Stem) -> None:
    """Register a module that reads the image by other means than a convolution."""
    STEMS[name] = stem


def register_layer(name: str, handler: LayerHandler) -> None:
    """Register a layer that mixes the batch axis. `handler` converts each layer of this class in place."""
    LAYER_HANDLERS[name] = handler


def find_registered(table: Mapping[str, T], cls: type) -> T | None:
    """Return the entry registered for exactly this class; None if there is none."""
    full_name = f".{cls.__module__}.{cls.__qualname__}"
    return next((entry for name, entry in table.items() if full_name.endswith(f".{name}")), None)


def attention_type(layer: nn.Module) -> AttentionType | None:
    """Return how a layer attends; None if it is not registered, or takes tokens with the batch on another axis."""
    return find_registered(ATTENTION_TYPES, type(layer)) if getattr(layer, "batch_first", True) else None


def registration_hint(kind: Literal["conv", "attention", "stem", "layer"], name: str = "ItsClass") -> str:
    """Return the instruction to register a class of this name, for error messages."""
    entry = {
        "conv": "ConvType(...)",
        "attention": "AttentionType('manual' or 'token_set')",
        "stem": "lambda module, first_conv: channels",
        "layer": "handler",
    }[kind]
    return f"register it once with dimlift.lifting.registry.register_{kind}({name!r}, {entry})"
