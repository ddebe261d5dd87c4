"""Decoders by the name used in configurations."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dimlift.decoders.decoder import Decoder

DecoderName = Literal["fpn", "upernet", "unetr", "mlp", "upernext", "cascade", "swin"]


def decoder_class(name: DecoderName) -> "type[Decoder]":
    """Return a decoder class."""
    from dimlift.decoders.cascade import CascadedUpsampler
    from dimlift.decoders.fpn import FPNDecoder
    from dimlift.decoders.mlp import MLPDecoder
    from dimlift.decoders.swin import SwinDecoder
    from dimlift.decoders.unetr import UNETRDecoder
    from dimlift.decoders.upernet import UPerNetDecoder
    from dimlift.decoders.upernext import UperNeXtDecoder

    decoders: dict[DecoderName, type[Decoder]] = {
        "fpn": FPNDecoder,
        "upernet": UPerNetDecoder,
        "unetr": UNETRDecoder,
        "mlp": MLPDecoder,
        "upernext": UperNeXtDecoder,
        "cascade": CascadedUpsampler,
        "swin": SwinDecoder,
    }
    return decoders[name]
