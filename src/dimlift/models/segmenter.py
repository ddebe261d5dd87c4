"""A lifted encoder and a light decoder: one class for every voxel of a volume."""

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
        width: channels of the decoder (see `LightDecoder`).
        image_path: let the decoder see the raw volume at full and half resolution.
        depth_kernel: depth of the decoder's convolutions; 1 keeps slices apart.
        upsample: "trilinear" or "nearest".
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.

    Raises:
        CannotLift: if the encoder gives no maps (it was lifted without `features_only=True`).
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        width: int = 64,
        image_path: bool = True,
        depth_kernel: int = 3,
        upsample: str = "trilinear",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        maps = cast(MapEncoder, encoder)
        if not gives_maps(encoder):
            raise CannotLift(
                f"a segmenter needs an encoder that gives maps, {type(encoder).__name__} gives none; "
                "lift the network with features_only=True"
            )
        self.encoder = encoder
        self.decoder = LightDecoder(
            maps.channels,
            maps.strides,
            classes,
            width=width,
            image_channels=maps.in_channels if image_path else 0,
            depth_kernel=depth_kernel,
            upsample=upsample,
            gradient_checkpointing=gradient_checkpointing,
        )
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
