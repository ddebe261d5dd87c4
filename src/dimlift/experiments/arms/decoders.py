"""The decoders an arm may name, built for the maps of its encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

DecoderName = Literal["light", "upernet", "unetr", "mlp", "upernext", "cascade", "swin"]


def build_decoder(
    name: DecoderName,
    channels: Sequence[int],
    strides: Sequence[tuple[int, ...]],
    out_channels: int,
    *,
    width: int,
    image_channels: int = 0,
    depth_kernel: int = 3,
    gradient_checkpointing: bool = False,
) -> "nn.Module":
    """The decoder called `name`.

    Args:
        channels: of the encoder's maps, finest first.
        strides: (z, y, x) of the encoder's maps.
        out_channels: channels of the answer.
        width: channels of the decoder.
        image_channels: of the volume, which is read too where the decoder can; 0 if it is not to be.
        depth_kernel: 1 keeps slices apart.
        gradient_checkpointing: recompute activations in the backward pass, where the decoder can.
    """
    from dimlift.decoders.cascade import CascadedUpsampler
    from dimlift.decoders.light import LightDecoder
    from dimlift.decoders.mlp import MLPDecoder
    from dimlift.decoders.swin import SwinDecoder
    from dimlift.decoders.unetr import UNETRDecoder
    from dimlift.decoders.upernet import UPerNetDecoder
    from dimlift.decoders.upernext import UperNeXtDecoder

    options: dict[str, Any] = {"width": width, "depth_kernel": depth_kernel}
    if name in ("light", "upernet", "unetr"):
        options["gradient_checkpointing"] = gradient_checkpointing
    if name in ("light", "unetr"):
        options["image_channels"] = image_channels
    decoders: dict[DecoderName, type[nn.Module]] = {
        "light": LightDecoder,
        "upernet": UPerNetDecoder,
        "unetr": UNETRDecoder,
        "mlp": MLPDecoder,
        "upernext": UperNeXtDecoder,
        "cascade": CascadedUpsampler,
        "swin": SwinDecoder,
    }
    return decoders[name](channels, strides, out_channels, **options)
