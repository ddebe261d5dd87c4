"""A 2D network on every slice, and one answer for the volume from the slices that matter."""

from typing import Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import MapEncoder, check_volume, maps_of, require_maps

SLICES_AT_ONCE = 32


class SliceClassifier(nn.Module):
    """(B, C, D, H, W) -> (B, classes): last map of each slice, its mean, pooled over slices, one linear layer.

    Args:
        encoder: a 2D network lifted with `DepthPlan(kernel=1)` and `features_only=True`: no slice sees another.
        classes: length of the answer; 1 for regression.
        pooling: (B, D, width) -> ((B, width), weights (B, D)); built for `width`.
        width: slices are brought to vectors of this length before they are pooled.
        dropout: share of the pooled vector dropped in training.
        still: the encoder never leaves eval mode, so that its batch-norm statistics stay.

    Raises:
        CannotLift: if the encoder gives no maps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        pooling: nn.Module,
        *,
        width: int = 128,
        dropout: float = 0.1,
        still: bool = False,
    ) -> None:
        super().__init__()
        require_maps(encoder)
        self.encoder, self.pooling, self.still = encoder, pooling, still
        channels = cast(MapEncoder, encoder).channels[-1]
        self.neck = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.GELU())
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, classes))
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but an encoder that is to stay still."""
        super().train(mode)
        if self.still:
            self.encoder.eval()
        return self

    def vectors(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch depth features"]:
        """What the 2D network sees in each slice.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        check_volume(self.encoder, volume)
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and any(p.requires_grad for p in self.encoder.parameters())
        ):
            parts = [maps_of(self.encoder, part, False)[-1] for part in volume.split(SLICES_AT_ONCE, dim=2)]
        return torch.cat([part.mean(dim=(3, 4)) for part in parts], dim=2).transpose(1, 2)

    def answer(
        self, vectors: Float[Tensor, "batch depth features"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch depth"]]:
        """Logits (or numbers), and the share each slice had in them; shares sum to one."""
        pooled, weights = self.pooling(self.neck(vectors))
        return self.head(pooled), weights

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Logits (or numbers) of every volume."""
        return self.answer(self.vectors(volume))[0]
