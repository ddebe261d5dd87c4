"""The decoders an arm may name."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dimlift.decoders.decoder import Decoder

DecoderName = Literal["light", "upernet", "unetr", "mlp", "upernext", "cascade", "swin"]


def decoder_called(name: DecoderName) -> "type[Decoder]":
    """The kind of decoder a configuration names."""
    from dimlift.decoders.cascade import CascadedUpsampler
    from dimlift.decoders.light import LightDecoder
    from dimlift.decoders.mlp import MLPDecoder
    from dimlift.decoders.swin import SwinDecoder
    from dimlift.decoders.unetr import UNETRDecoder
    from dimlift.decoders.upernet import UPerNetDecoder
    from dimlift.decoders.upernext import UperNeXtDecoder

    decoders: dict[DecoderName, type[Decoder]] = {
        "light": LightDecoder,
        "upernet": UPerNetDecoder,
        "unetr": UNETRDecoder,
        "mlp": MLPDecoder,
        "upernext": UperNeXtDecoder,
        "cascade": CascadedUpsampler,
        "swin": SwinDecoder,
    }
    return decoders[name]
