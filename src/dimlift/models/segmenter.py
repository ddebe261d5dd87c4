"""A lifted encoder and a decoder: one class for every voxel of a volume."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.light import LightDecoder
from dimlift.errors import CannotLift, ShapeError
from dimlift.models.encoder import MapEncoder, gives_maps, recompute_stages, recomputed


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
        wanted = cast(MapEncoder, self.encoder).in_channels
        if volume.dim() != 5 or volume.shape[1] != wanted:
            raise ShapeError(f"the encoder reads (B, {wanted}, D, H, W), got {tuple(volume.shape)}")
        whole = self.recompute_whole and self.training
        maps = recomputed(self.encoder, volume) if whole else self.encoder(volume)
        return self.decoder(maps, volume)


def require_maps(encoder: nn.Module) -> None:
    """Raises: CannotLift, if the encoder answers with logits instead of maps."""
    if not gives_maps(encoder):
        raise CannotLift(
            f"a segmenter needs an encoder that gives maps, {type(encoder).__name__} gives none; "
            "lift the network with features_only=True"
        )
