"""Several sequences of one patient (T1, T2, FLAIR) through one and the same network, any of which may be missing.

Each sequence goes through the network by itself, as a volume of one channel; what comes out is fused over the sequences
that are there. A sequence is missing where its channel is zero throughout, which is how the data hand it out.

- Fusion over whatever is there: Havaei et al., HeMIS, 2016, https://arxiv.org/abs/1607.05194
"""

from typing import Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.errors import CannotLift, ShapeError
from dimlift.models.encoder_protocol import MapEncoder

Fusion = Literal["mean", "max"]


class SharedSequences(nn.Module):
    """An encoder of volumes of several sequences, made of an encoder of one.

    Args:
        encoder: gives maps of a volume of one channel.
        sequences: channels of a volume.
        fusion: "mean" or "max" over the sequences that are there, for every feature and voxel.

    Raises:
        CannotLift: if the encoder reads more than one channel.
    """

    def __init__(self, encoder: nn.Module, sequences: int, fusion: Fusion = "mean") -> None:
        super().__init__()
        maps = cast(MapEncoder, encoder)
        if maps.in_channels != 1:
            raise CannotLift(
                f"sequences are shown one at a time, but the encoder reads {maps.in_channels} channels; lift it with "
                "in_channels=1"
            )
        self.network, self.fusion = encoder, fusion
        self.in_channels, self.channels, self.strides = sequences, maps.channels, maps.strides

    @property
    def plan(self) -> Any:
        """The depth plan of the network."""
        return getattr(self.network, "plan", None)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """The network's own switch."""
        cast(Any, self.network).set_grad_checkpointing(enable)

    def forward(self, volume: Float[Tensor, "batch sequences depth height width"]) -> list[Tensor]:
        """(B, S, D, H, W) -> the network's maps, fused over S.

        Raises:
            ShapeError: if the volume has other channels.
        """
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"{self.in_channels} sequences (B, S, D, H, W) are wanted, got {tuple(volume.shape)}")
        present = present_sequences(volume)
        maps = self.network(rearrange(volume, "b s d h w -> (b s) 1 d h w"))
        return [fuse(rearrange(m, "(b s) ... -> b s ...", b=len(volume)), present, self.fusion) for m in maps]


class FusedImage(nn.Module):
    """A decoder that is shown the sequences fused, instead of one after the other in channels.

    Args:
        decoder: turns (maps, volume of one channel) into logits.
    """

    def __init__(self, decoder: nn.Module, fusion: Fusion = "mean") -> None:
        super().__init__()
        self.decoder, self.fusion = decoder, fusion
        self.out_channels = getattr(decoder, "out_channels", None)
        self.depth_kernel = getattr(decoder, "depth_kernel", 1)

    def forward(self, maps: list[Tensor], volume: Float[Tensor, "batch sequences depth height width"]) -> Tensor:
        """The decoder's logits."""
        image = fuse(volume[:, :, None], present_sequences(volume), self.fusion)
        return self.decoder(maps, image)


def present_sequences(volume: Float[Tensor, "batch sequences *grid"]) -> Bool[Tensor, "batch sequences"]:
    """Which channels hold anything; where none does, all count, so that there is something to fuse."""
    present = volume.flatten(2).ne(0).any(dim=2)
    return present | ~present.any(dim=1, keepdim=True)


def fuse(
    values: Float[Tensor, "batch sequences *shape"], present: Bool[Tensor, "batch sequences"], fusion: Fusion
) -> Float[Tensor, " batch *shape"]:
    """Mean or maximum over the sequences that are present."""
    mask = present.reshape(*present.shape, *([1] * (values.dim() - 2)))
    if fusion == "max":
        return values.masked_fill(~mask, -torch.inf).amax(dim=1)
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
