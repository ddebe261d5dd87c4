"""A lifted encoder and a decoder: one class for every voxel of a volume."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.light import LightDecoder
from dimlift.errors import ShapeError
from dimlift.models.encoder_protocol import MapEncoder, check_volume, maps_of, recompute_stages, require_maps


class Segmenter(nn.Module):
    """(B, C, D, H, W) -> logits (B, classes, D, H, W) at the resolution of the volume, for any size.

    Args:
        encoder: gives maps, finest first (a network lifted with `features_only=True`).
        classes: channels of the answer.
        decoder: turns (maps, volume) into logits, built for the encoder's channels and strides; a `LightDecoder`
            with an image path if not given.
        gradient_checkpointing: recompute activations of the encoder (and of the light decoder, if none is given) in
            the backward pass: less memory, more time.

    Raises:
        CannotLift: if the encoder gives no maps (it was lifted without `features_only=True`).
        ShapeError: if the decoder was built for another number of classes.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        decoder: nn.Module | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        maps = cast(MapEncoder, encoder)
        require_maps(encoder)
        self.encoder = encoder
        self.decoder = decoder or LightDecoder(
            maps.channels,
            maps.strides,
            classes,
            image_channels=maps.in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )
        answers = getattr(self.decoder, "out_channels", classes)
        if answers != classes:
            raise ShapeError(f"the decoder answers {answers} channels, {classes} classes are wanted; build it for them")
        self.recompute_whole = gradient_checkpointing and not recompute_stages(encoder)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Logits of every voxel.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        check_volume(self.encoder, volume)
        return self.decoder(maps_of(self.encoder, volume, self.recompute_whole and self.training), volume)
