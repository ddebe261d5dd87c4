"""Distances to a teacher: zero where the two agree, hard labels are plain cross-entropy, no gradient to the teacher."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.distillation import kl_to_teacher, soft_cross_entropy


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 7, generator=generator), 3 * torch.randn(5, 7, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_distance_is_the_divergence_times_the_squared_temperature(answers, temperature):
    student, teacher = answers
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    by_hand = (p * (p / q).log()).sum(1).mean() * temperature**2
    torch.testing.assert_close(kl_to_teacher(student, teacher, temperature), by_hand)
    assert kl_to_teacher(teacher, teacher, temperature).abs() < 1e-6


def test_hard_labels_are_cross_entropy_to_the_first_class(answers):
    student, teacher = answers
    found = kl_to_teacher(student, teacher, 5.0, hard=True)
    torch.testing.assert_close(found, F.cross_entropy(student, teacher.argmax(1)))


def test_soft_labels_leave_the_teachers_own_entropy_beside_the_divergence(answers):
    student, teacher = answers
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(student, teacher), kl_to_teacher(student, teacher) + entropy)


@pytest.mark.parametrize("distance", [kl_to_teacher, soft_cross_entropy])
def test_the_teacher_gets_no_gradient(answers, distance):
    student, teacher = (answer.requires_grad_() for answer in answers)
    distance(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_other_classes_and_no_temperature_are_refused(answers):
    student, teacher = answers
    for distance in (kl_to_teacher, soft_cross_entropy):
        with pytest.raises(ShapeError, match="6 classes"):
            distance(student, teacher[:, :6])
    with pytest.raises(ConfigError, match="temperature"):
        kl_to_teacher(student, teacher, 0.0)
