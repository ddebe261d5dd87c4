"""Distillation losses: zero if student and teacher agree, hard labels, no gradient to the teacher."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.distillation import kl_to_teacher, soft_cross_entropy


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 7, generator=generator), 3 * torch.randn(5, 7, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_to_teacher_scales_with_squared_temperature(logits, temperature):
    student, teacher = logits
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean() * temperature**2
    torch.testing.assert_close(kl_to_teacher(student, teacher, temperature), expected)
    assert kl_to_teacher(teacher, teacher, temperature).abs() < 1e-6


def test_kl_to_teacher_with_hard_labels_is_cross_entropy(logits):
    student, teacher = logits
    found = kl_to_teacher(student, teacher, 5.0, hard_labels=True)
    torch.testing.assert_close(found, F.cross_entropy(student, teacher.argmax(1)))


def test_soft_cross_entropy_is_kl_plus_teacher_entropy(logits):
    student, teacher = logits
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(student, teacher), kl_to_teacher(student, teacher) + entropy)


@pytest.mark.parametrize("distance", [kl_to_teacher, soft_cross_entropy])
def test_distillation_losses_give_teacher_no_gradient(logits, distance):
    student, teacher = (each.requires_grad_() for each in logits)
    distance(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_distillation_losses_reject_mismatched_logits_and_zero_temperature(logits):
    student, teacher = logits
    for distance in (kl_to_teacher, soft_cross_entropy):
        with pytest.raises(ShapeError, match=r"got \(5, 7\) and \(5, 6\)"):
            distance(student, teacher[:, :6])
    with pytest.raises(ConfigError, match="temperature"):
        kl_to_teacher(student, teacher, 0.0)
