"""Distillation losses between the logits of a student and a teacher; the teacher gets no gradient.

- Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ConfigError, ShapeError


def kl_to_teacher(
    student: Float[Tensor, "batch classes"],
    teacher: Float[Tensor, "batch2 classes2"],
    temperature: float = 1.0,
    *,
    hard_labels: bool = False,
) -> Float[Tensor, ""]:
    """Return T^2 * KL(softmax(teacher / T) || softmax(student / T)), averaged over the batch.

    Args:
        student: logits of the student.
        teacher: logits of the teacher.
        temperature: T; larger values increase the weight of unlikely classes.
        hard_labels: use the cross-entropy with the teacher's most likely class instead, without temperature.

    Raises:
        ShapeError: if the logits differ in shape.
        ConfigError: if the temperature is not above 0.
    """
    _require_same_shape(student, teacher)
    if temperature <= 0:
        raise ConfigError(f"the temperature must be above 0, got {temperature}; 1 leaves logits unscaled")
    student, teacher = student.float(), teacher.detach().float()
    if hard_labels:
        return F.cross_entropy(student, teacher.argmax(1))
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return divergence * temperature**2


def soft_cross_entropy(
    student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch2 classes2"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the student under the teacher's probabilities, averaged over the batch.

    Args:
        student: logits of the student.
        teacher: logits of the teacher.

    Raises:
        ShapeError: if the logits differ in shape.
    """
    _require_same_shape(student, teacher)
    return F.cross_entropy(student.float(), teacher.detach().float().softmax(1))


def _require_same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student and teacher logits must have the same shape, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; use the head of the teacher for the student"
        )
