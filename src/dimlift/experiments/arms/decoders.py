"""The decoders an arm may name, built for the maps of its encoder."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

DecoderName = Literal["light", "upernet", "unetr", "mlp"]


def build_decoder(
    name: DecoderName,
    encoder: Any,
    out_channels: int,
    *,
    width: int,
    image_path: bool = True,
    depth_kernel: int = 3,
    gradient_checkpointing: bool = False,
) -> "nn.Module":
    """The decoder called `name`.

    Args:
        encoder: has `channels`, `strides` and `in_channels`.
        out_channels: channels of the answer.
        width: channels of the decoder.
        image_path: whether the volume itself is read too, where the decoder can.
        depth_kernel: 1 keeps slices apart.
        gradient_checkpointing: recompute activations in the backward pass.
    """
    from dimlift.decoders.light import LightDecoder
    from dimlift.decoders.mlp import MLPDecoder
    from dimlift.decoders.unetr import UNETRDecoder
    from dimlift.decoders.upernet import UPerNetDecoder

    options: dict[str, Any] = {"width": width, "depth_kernel": depth_kernel}
    if name != "mlp":  # next to nothing to recompute there
        options["gradient_checkpointing"] = gradient_checkpointing
    if name in ("light", "unetr"):
        options["image_channels"] = encoder.in_channels if image_path else 0
    decoders: dict[DecoderName, type[nn.Module]] = {
        "light": LightDecoder,
        "upernet": UPerNetDecoder,
        "unetr": UNETRDecoder,
        "mlp": MLPDecoder,
    }
    return decoders[name](encoder.channels, encoder.strides, out_channels, **options)
