"""Losses for one answer per volume: a class or a number. Volumes without an annotation have no influence."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from dimlift.batch import IGNORE
from dimlift.errors import ShapeError


def classification_loss(
    logits: Float[Tensor, "batch classes"],
    label: Num[Tensor, " batch"],
    smoothing: float = 0.0,
    weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy over volumes; those labelled `IGNORE` are left out.

    Args:
        logits: one row for each volume.
        label: class of each volume.
        smoothing: share of the label spread over all classes (Szegedy et al., 2015, https://arxiv.org/abs/1512.00567).
        weights: of each class; the loss is the weighted mean over volumes.

    Raises:
        ShapeError: if there is not one label for each row of logits.
    """
    if logits.dim() != 2 or label.shape != logits.shape[:1]:
        raise ShapeError(f"logits {tuple(logits.shape)} need one class per volume, got labels {tuple(label.shape)}")
    known = label != IGNORE
    if not known.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known].float(), label[known].long(), weight=weights, label_smoothing=smoothing)


def regression_loss(answer: Float[Tensor, "batch 1"], label: Num[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Huber loss of one number per volume, in the unit the answer has; NaN labels are left out.

    Raises:
        ShapeError: if there is not one label and one answer for each volume.
    """
    if answer.shape != (*label.shape, 1):
        raise ShapeError(f"{len(label)} numbers need answers of shape {(len(label), 1)}, got {tuple(answer.shape)}")
    known = ~torch.isnan(label.float())
    if not known.any():
        return answer.sum() * 0.0
    return F.huber_loss(answer[known, 0].float(), label[known].float())
