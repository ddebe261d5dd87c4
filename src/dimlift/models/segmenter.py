"""Segmentation network: an encoder of feature maps and a decoder."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import ShapeError
from dimlift.models.encoder_protocol import (
    FeatureMapEncoder,
    enable_grad_checkpointing,
    encode_maps,
    map_starts,
    require_maps,
    validate_volume,
)


class Segmenter(nn.Module):
    """(B, C, D, H, W) -> logits (B, num_classes, D, H, W), for any size of the volume.

    Args:
        encoder: returns feature maps, finest first (a network lifted with `features_only=True`).
        num_classes: channels of the logits.
        decoder: (maps, volume) -> logits, built for the channels and strides of the encoder; an `FPNDecoder` with
            image skip if None.
        gradient_checkpointing: recompute activations of the encoder (and of the default decoder) in the backward
            pass: less memory, more time.

    Raises:
        LiftError: if the encoder returns no feature maps.
        ShapeError: if the decoder has another number of output channels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        *,
        decoder: nn.Module | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        require_maps(encoder)
        maps = cast(FeatureMapEncoder, encoder)
        self.encoder = encoder
        self.decoder = decoder or FPNDecoder(
            maps.channels,
            maps.strides,
            num_classes,
            image_channels=maps.in_channels,
            starts=map_starts(maps),
            gradient_checkpointing=gradient_checkpointing,
        )
        out_channels = getattr(self.decoder, "out_channels", num_classes)
        if out_channels != num_classes:
            raise ShapeError(
                f"the decoder has {out_channels} output channels, expected {num_classes}; build it with "
                f"out_channels={num_classes}"
            )
        self.recompute_encoder = gradient_checkpointing and not enable_grad_checkpointing(encoder)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Return the logits of every voxel.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        validate_volume(self.encoder, volume)
        return self.decoder(encode_maps(self.encoder, volume, self.recompute_encoder and self.training), volume)
