"""Classification network: an encoder of feature maps, global pooling and a linear head."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import FeatureMapEncoder, enable_grad_checkpointing, encode_maps, require_maps


class Classifier(nn.Module):
    """(B, C, D, H, W) -> (B, num_classes): the coarsest maps, averaged over all positions, and one linear layer.

    A network lifted with its own head returns (B, num_classes) already and needs no classifier.

    Args:
        encoder: returns feature maps, finest first (a network lifted with `features_only=True`).
        num_classes: number of outputs; 1 for regression.
        num_maps: number of coarsest maps that are pooled.
        dropout: dropout rate of the pooled features.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.

    Raises:
        LiftError: if the encoder returns no feature maps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        *,
        num_maps: int = 1,
        dropout: float = 0.1,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        require_maps(encoder)
        self.encoder = encoder
        channels = cast(FeatureMapEncoder, encoder).channels
        self.num_maps = min(num_maps, len(channels))
        width = sum(channels[-self.num_maps :])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, num_classes))
        self.recompute_encoder = gradient_checkpointing and not enable_grad_checkpointing(encoder)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits (or predicted numbers) of every volume."""
        maps = encode_maps(self.encoder, volume, self.recompute_encoder and self.training)
        return self.head(torch.cat([m.mean(dim=(2, 3, 4)) for m in maps[-self.num_maps :]], dim=1))
