"""Dice plus cross-entropy over annotated voxels, from MONAI's Dice and torch's cross-entropy.

- Soft Dice: Milletari et al., V-Net, 2016, https://arxiv.org/abs/1606.04797
- The sum of both: Isensee et al., nnU-Net, 2021, https://arxiv.org/abs/1809.10486
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from monai.losses import DiceLoss
from torch import Tensor, nn

from dimlift.batch import IGNORE
from dimlift.errors import ConfigError, ShapeError


class DiceCELoss(nn.Module):
    """Soft Dice over the foreground classes plus cross-entropy over all; voxels labelled `IGNORE` have no influence.

    Args:
        dice: weight of the Dice term, 0 to leave it out.
        cross_entropy: weight of the cross-entropy term, 0 to leave it out.
        class_weights: weight of each class in the cross-entropy; equal weights if None.
        include_background: whether class 0 counts in the Dice term.
        batch_dice: compute one Dice over all patches of a batch (less variance if many patches lack a class), instead
            of one per patch.
        focal: gamma of the focal loss (Lin et al., 2017, https://arxiv.org/abs/1708.02002): the cross-entropy of each
            voxel is weighted by (1 - probability of its class) ** gamma. 0 is plain cross-entropy.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        dice: float = 1.0,
        cross_entropy: float = 1.0,
        class_weights: tuple[float, ...] | None = None,
        include_background: bool = False,
        batch_dice: bool = True,
        focal: float = 0.0,
    ) -> None:
        super().__init__()
        self.focal = focal
        self.dice_weight, self.cross_entropy_weight = dice, cross_entropy
        # not part of a checkpoint: it is configuration, and the logits do not depend on it
        self.register_buffer("class_weights", torch.tensor(class_weights) if class_weights else None, persistent=False)
        self.dice = DiceLoss(
            include_background=include_background,
            to_onehot_y=True,
            softmax=True,
            batch=batch_dice,
            ignore_index=IGNORE,
        )

    def forward(
        self, logits: Float[Tensor, "batch classes *grid"], label: Integer[Tensor, " batch *grid"]
    ) -> Float[Tensor, ""]:
        """Return the loss, in float32 regardless of autocast; 0 if no voxel is annotated.

        Raises:
            ShapeError: if logits and label are on different grids.
        """
        if label.shape != (len(logits), *logits.shape[2:]):
            raise ShapeError(
                f"logits {tuple(logits.shape)} need a label of shape {(len(logits), *logits.shape[2:])}, "
                f"got {tuple(label.shape)}; the network must predict at the resolution of the label"
            )
        with torch.autocast(logits.device.type, enabled=False):
            return self._loss(logits.float(), label.long())

    def _loss(self, logits: Tensor, label: Tensor) -> Tensor:
        annotated = label != IGNORE
        # zeroed logits keep infinite or NaN values outside the annotation from reaching the sums
        logits = torch.where(annotated[:, None], logits, 0.0)
        total = logits.sum() * 0.0  # a gradient exists even if nothing is annotated
        if self.cross_entropy_weight and annotated.any():
            total = total + self.cross_entropy_weight * self._cross_entropy(logits, label)
        if self.dice_weight and annotated.any():
            total = total + self.dice_weight * self.dice(logits, label[:, None])
        return total

    def _cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        if not self.focal:
            return F.cross_entropy(logits, label, weight=self.class_weights, ignore_index=IGNORE)
        plain = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
        weight = (1 - torch.exp(-plain)) ** self.focal
        if self.class_weights is not None:
            weight = weight * self.class_weights[label.clamp_min(0)]
        return (weight * plain).sum() / (label != IGNORE).sum()


def set_class_weights(method: nn.Module, weights: Sequence[float]) -> None:
    """Set the class weights of every `DiceCELoss` inside a method.

    Args:
        method: changed in place.
        weights: one per class, background first.

    Raises:
        ConfigError: if the method contains no such loss.
    """
    losses = [module for module in method.modules() if isinstance(module, DiceCELoss)]
    if not losses:
        raise ConfigError(f"{type(method).__name__} has no loss with class weights; remove training.class_weights")
    for loss in losses:
        loss.class_weights = torch.tensor([float(weight) for weight in weights])
