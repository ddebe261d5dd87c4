"""Several sequences of one patient (T1, T2, FLAIR) through one shared network, any of which may be missing.

Each sequence passes through the network as a volume of one channel; feature maps are fused over the sequences that are
present. A sequence is missing if its channel is zero everywhere, as `preprocessing.missing_channels: allow` fills it.

- Fusion over the available sequences: Havaei et al., HeMIS, 2016, https://arxiv.org/abs/1607.05194
"""

from typing import Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.errors import LiftError, ShapeError
from dimlift.models.encoder_protocol import FeatureMapEncoder, map_starts

Fusion = Literal["mean", "max"]


class SharedSequenceEncoder(nn.Module):
    """Encoder of volumes with several sequences, made of an encoder of one channel.

    Args:
        encoder: returns feature maps of a volume of one channel.
        sequences: channels of a volume.
        fusion: "mean" or "max" over the sequences that are present, per feature and voxel.

    Raises:
        LiftError: if the encoder reads more than one channel.
    """

    def __init__(self, encoder: nn.Module, sequences: int, fusion: Fusion = "mean") -> None:
        super().__init__()
        maps = cast(FeatureMapEncoder, encoder)
        if maps.in_channels != 1:
            raise LiftError(
                f"sequences are encoded one at a time, but the encoder reads {maps.in_channels} channels; lift it with "
                "in_chans=1"
            )
        self.network, self.fusion = encoder, fusion
        self.in_channels, self.channels, self.strides = sequences, maps.channels, maps.strides
        self.starts = map_starts(encoder)

    @property
    def plan(self) -> Any:
        """Depth plan of the network; None if it has none."""
        return getattr(self.network, "plan", None)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable or disable the activation checkpointing of the network."""
        cast(Any, self.network).set_grad_checkpointing(enable)

    def forward(self, volume: Float[Tensor, "batch sequences depth height width"]) -> list[Tensor]:
        """Return the feature maps of a volume (B, S, D, H, W), fused over S.

        Raises:
            ShapeError: if the volume has another number of channels.
        """
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"expected {self.in_channels} sequences (B, S, D, H, W), got {tuple(volume.shape)}")
        present = present_sequences(volume)
        maps = self.network(rearrange(volume, "b s d h w -> (b s) 1 d h w"))
        return [fuse(rearrange(m, "(b s) ... -> b s ...", b=len(volume)), present, self.fusion) for m in maps]


class FusedDecoder(nn.Module):
    """Decoder whose image input is fused over sequences.

    Args:
        decoder: (maps, volume of one channel) -> logits.
        fusion: "mean" or "max" over the sequences that are present.
    """

    def __init__(self, decoder: nn.Module, fusion: Fusion = "mean") -> None:
        super().__init__()
        self.decoder, self.fusion = decoder, fusion
        self.out_channels = getattr(decoder, "out_channels", None)
        self.depth_kernel = getattr(decoder, "depth_kernel", 1)

    def forward(self, maps: list[Tensor], volume: Float[Tensor, "batch sequences depth height width"]) -> Tensor:
        """Return the logits of the decoder."""
        image = fuse(volume[:, :, None], present_sequences(volume), self.fusion)
        return self.decoder(maps, image)


def present_sequences(volume: Float[Tensor, "batch sequences *grid"]) -> Bool[Tensor, "batch sequences"]:
    """Return which channels are not zero everywhere; all of them if every channel is, since fusion needs one."""
    present = volume.flatten(2).ne(0).any(dim=2)
    return present | ~present.any(dim=1, keepdim=True)


def fuse(
    values: Float[Tensor, "batch sequences *shape"], present: Bool[Tensor, "batch sequences"], fusion: Fusion
) -> Float[Tensor, " batch *shape"]:
    """Return the mean or maximum over the sequences that are present."""
    mask = present.reshape(*present.shape, *([1] * (values.dim() - 2)))
    if fusion == "max":
        return values.masked_fill(~mask, -torch.inf).amax(dim=1)
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
