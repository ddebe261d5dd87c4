"""Decoders: feature maps of an encoder to logits at full resolution.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.decoders.cascade import CascadedUpsampler as CascadedUpsampler
    from dimlift.decoders.decoder import Decoder as Decoder
    from dimlift.decoders.fpn import FPNDecoder as FPNDecoder
    from dimlift.decoders.mlp import MLPDecoder as MLPDecoder
    from dimlift.decoders.swin import SwinDecoder as SwinDecoder
    from dimlift.decoders.unetr import UNETRDecoder as UNETRDecoder
    from dimlift.decoders.upernet import UPerNetDecoder as UPerNetDecoder
    from dimlift.decoders.upernext import UperNeXtDecoder as UperNeXtDecoder

_HOMES = {
    "CascadedUpsampler": "cascade",
    "Decoder": "decoder",
    "FPNDecoder": "fpn",
    "MLPDecoder": "mlp",
    "SwinDecoder": "swin",
    "UNETRDecoder": "unetr",
    "UPerNetDecoder": "upernet",
    "UperNeXtDecoder": "upernext",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
