"""Slice-wise classifier of volumes: a 2D network on every slice, pooling over slices, a linear head."""

from typing import Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import FeatureMapEncoder, encode_maps, require_maps, validate_volume

SLICES_AT_ONCE = 32


class SliceClassifier(nn.Module):
    """(B, C, D, H, W) -> (B, num_classes): pool the coarsest map of each slice, then over slices.

    Args:
        encoder: a 2D network lifted with `DepthPlan(kernel=1)` and `features_only=True`, so that slices are separate.
        num_classes: number of outputs; 1 for regression.
        pooling: (B, D, embed_dim) -> ((B, embed_dim), weights (B, D)).
        embed_dim: length of the vector of a slice in the pooling.
        dropout: dropout rate of the pooled vector.
        freeze_norm_stats: keep the encoder in eval mode, so that its batch-norm statistics do not change.

    Raises:
        LiftError: if the encoder returns no feature maps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        pooling: nn.Module,
        *,
        embed_dim: int = 128,
        dropout: float = 0.1,
        freeze_norm_stats: bool = False,
    ) -> None:
        super().__init__()
        require_maps(encoder)
        self.encoder, self.pooling, self.freeze_norm_stats = encoder, pooling, freeze_norm_stats
        channels = cast(FeatureMapEncoder, encoder).channels[-1]
        self.neck = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, embed_dim), nn.GELU())
        self.head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Dropout(dropout), nn.Linear(embed_dim, num_classes))
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for an encoder with `freeze_norm_stats`."""
        super().train(mode)
        if self.freeze_norm_stats:
            self.encoder.eval()
        return self

    def slice_features(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch depth features"]:
        """Return the pooled features of each slice.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        validate_volume(self.encoder, volume)
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and any(p.requires_grad for p in self.encoder.parameters())
        ):
            parts = [encode_maps(self.encoder, part, False)[-1] for part in volume.split(SLICES_AT_ONCE, dim=2)]
        return torch.cat([part.mean(dim=(3, 4)) for part in parts], dim=2).transpose(1, 2)

    def pool_slices(
        self, features: Float[Tensor, "batch depth features"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch depth"]]:
        """Return logits (or predicted numbers), and the weight of each slice; weights sum to one."""
        vector, weights = self.pooling(self.neck(features))
        return self.head(vector), weights

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits (or predicted numbers) of every volume."""
        return self.pool_slices(self.slice_features(volume))[0]
