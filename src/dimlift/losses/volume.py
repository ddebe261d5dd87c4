"""Losses with one label per volume: a class or a number. Volumes without a label have no influence."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from dimlift.batch import IGNORE
from dimlift.errors import ShapeError


def classification_loss(
    logits: Float[Tensor, "batch classes"],
    label: Num[Tensor, " batch"],
    label_smoothing: float = 0.0,
    weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Return the cross-entropy over volumes; volumes labelled `IGNORE` are left out.

    Args:
        logits: one row per volume.
        label: class of each volume.
        label_smoothing: probability mass spread over all classes (Szegedy et al., 2015,
            https://arxiv.org/abs/1512.00567).
        weights: weight of each class; the loss is the weighted mean over volumes.

    Raises:
        ShapeError: if there is not one label per row of logits.
    """
    if logits.dim() != 2 or label.shape != logits.shape[:1]:
        raise ShapeError(f"logits {tuple(logits.shape)} need one class per volume, got labels {tuple(label.shape)}")
    known = label != IGNORE
    if not known.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known].float(), label[known].long(), weight=weights, label_smoothing=label_smoothing)


def regression_loss(prediction: Float[Tensor, "batch 1"], label: Num[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the Huber loss of one number per volume, in the unit of the predictions; NaN labels are left out.

    Raises:
        ShapeError: if there is not one label and one prediction per volume.
    """
    if prediction.shape != (*label.shape, 1):
        raise ShapeError(
            f"{len(label)} labels need predictions of shape {(len(label), 1)}, got {tuple(prediction.shape)}"
        )
    known = ~torch.isnan(label.float())
    if not known.any():
        return prediction.sum() * 0.0
    return F.huber_loss(prediction[known, 0].float(), label[known].float())
