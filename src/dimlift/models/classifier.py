"""A lifted encoder and a linear head: one class, or one number, for a whole volume."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import MapEncoder, maps_of, recompute_stages, require_maps


class Classifier(nn.Module):
    """(B, C, D, H, W) -> (B, classes): the last maps, averaged over all positions, through one linear layer.

    A network lifted with its own head already answers (B, classes) and needs no classifier around it.

    Args:
        encoder: gives maps, finest first (a network lifted with `features_only=True`).
        classes: length of the answer; 1 for regression.
        last: how many of the coarsest maps are read.
        dropout: share of the pooled features dropped in training.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.

    Raises:
        CannotLift: if the encoder gives no maps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        last: int = 1,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        require_maps(encoder)
        self.encoder = encoder
        channels = cast(MapEncoder, encoder).channels
        self.last = min(last, len(channels))
        width = sum(channels[-self.last :])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, classes))
        self.recompute_whole = gradient_checkpointing and not recompute_stages(encoder)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Logits (or numbers) of every volume."""
        maps = maps_of(self.encoder, volume, self.recompute_whole and self.training)
        return self.head(torch.cat([m.mean(dim=(2, 3, 4)) for m in maps[-self.last :]], dim=1))
