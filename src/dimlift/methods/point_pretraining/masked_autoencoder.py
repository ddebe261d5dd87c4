"""Base of masked autoencoders of point clouds."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.geometry.chamfer import chamfer_distance
from dimlift.geometry.patches import Patches
from dimlift.geometry.sampling import gather_points
from dimlift.methods.method import Method


class MaskedPointAutoencoder(Method[PointBatch]):
    """Pretraining of a point encoder by the points of masked patches.

    Args:
        model: network whose `encoder` is pretrained.
        mask_ratio: fraction of the coarsest patches that is masked.

    Attributes:
        point_head: linear layer from a token to the points of its patch.
    """

    point_head: nn.Linear

    def __init__(self, model: nn.Module, mask_ratio: float) -> None:
        super().__init__()
        self.model, self.mask_ratio = model, mask_ratio

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
        return chamfer_distance(predicted, targets).mean() if len(targets) else predicted.sum()


def patch_targets(
    points: Float[Tensor, "batch points 3"], levels: Sequence[Patches], level: int
) -> Float[Tensor, "batch patches neighbours 3"]:
    """Return the members of each patch of a level, relative to its centre."""
    members = levels[level - 1].centres if level else points
    return gather_points(members, levels[level].members) - levels[level].centres[:, :, None]
