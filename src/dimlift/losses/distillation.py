"""How far a student's class answers are from a teacher's. No gradient reaches the teacher's side.

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
    hard: bool = False,
) -> Float[Tensor, ""]:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch.

    Args:
        temperature: T; above 1 the teacher's small answers count for more.
        hard: cross-entropy to the teacher's first class instead; T plays no part then.

    Raises:
        ShapeError: if the two do not answer the same rows with the same classes.
        ConfigError: if the temperature is not above 0.
    """
    _same_classes(student, teacher)
    if temperature <= 0:
        raise ConfigError(f"the temperature must be above 0, got {temperature}; 1 takes answers as they are")
    student, teacher = student.float(), teacher.detach().float()
    if hard:
        return F.cross_entropy(student, teacher.argmax(1))
    gap = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return gap * temperature**2


def soft_cross_entropy(
    student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch2 classes2"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the student's answer under the teacher's probabilities, the mean over the batch.

    Raises:
        ShapeError: if the two do not answer the same rows with the same classes.
    """
    _same_classes(student, teacher)
    return F.cross_entropy(student.float(), teacher.detach().float().softmax(1))


def _same_classes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ShapeError(
            f"the teacher answers {teacher.shape[0]} pictures with {teacher.shape[1]} classes, the student "
            f"{student.shape[0]} with {student.shape[1]}; give the student the teacher's own head"
        )
