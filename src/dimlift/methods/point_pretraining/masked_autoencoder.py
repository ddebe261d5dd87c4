"""Base of masked autoencoders of point clouds."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.geometry.chamfer import chamfer_distance
from dimlift.geometry.patches import Patches
from dimlift.geometry.sampling import gather_points
from dimlift.methods.method import Method
from dimlift.methods.point_pretraining.blind_baseline import fit_blind_baseline

MAX_BASELINE_PATCHES = 2000
"""Masked patches to which the blind baseline is fitted, and on which it is measured."""


class MaskedPointAutoencoder(Method[PointBatch]):
    """Pretraining of a point encoder by the points of masked patches.

    Args:
        model: network whose `encoder` is pretrained.
        mask_ratio: fraction of the coarsest patches that is masked.

    Attributes:
        point_head: linear layer from a token to the points of its patch.
        recent: reconstruction loss, centres and points of the masked patches of the last batches in evaluation mode.
    """

    point_head: nn.Linear

    def __init__(self, model: nn.Module, mask_ratio: float) -> None:
        super().__init__()
        self.model, self.mask_ratio = model, mask_ratio
        self.recent: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=20)

    @property
    def point_encoder(self) -> Any:
        """The encoder that is pretrained."""
        return self.model.encoder

    def predict_points(self, tokens: Float[Tensor, "patches width"]) -> Float[Tensor, "patches neighbours 3"]:
        """Return the points of patches, relative to their centres."""
        return self.point_head(tokens).unflatten(-1, (-1, 3)).float()

    def point_loss(
        self,
        predicted: Float[Tensor, "masked neighbours 3"],
        points: Float[Tensor, "batch points 3"],
        levels: Sequence[Patches],
        level: int,
        masked: Bool[Tensor, "batch patches"],
    ) -> Float[Tensor, ""]:
        """Return the mean CD-L2 of the masked patches of a level; 0 if there is none."""
        targets = patch_targets(points, levels, level)[masked]
        if not len(targets):
            return predicted.sum()
        loss = chamfer_distance(predicted, targets).mean()
        if not self.training:
            self.recent.append((loss.detach(), levels[level].centres[masked].detach(), targets.detach()))
        return loss

    def report(self) -> dict[str, Any]:
        """Return the loss of the last evaluated batches, and that of the blind baseline on the same patches."""
        if not self.recent:
            return {}
        losses, centres, targets = zip(*self.recent, strict=True)
        every = max(1, sum(map(len, centres)) // MAX_BASELINE_PATCHES)
        blind = fit_blind_baseline(torch.cat(centres)[::every].float(), torch.cat(targets)[::every].float())
        facts = {"reconstruction_loss": float(torch.stack(losses).mean())}
        return facts if blind is None else {**facts, "blind_loss": blind}


def patch_targets(
    points: Float[Tensor, "batch points 3"], levels: Sequence[Patches], level: int
) -> Float[Tensor, "batch patches neighbours 3"]:
    """Return the members of each patch of a level, relative to its centre."""
    members = levels[level - 1].centres if level else points
    return gather_points(members, levels[level].members) - levels[level].centres[:, :, None]
