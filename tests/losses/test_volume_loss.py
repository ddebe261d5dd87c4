"""Losses with one class or one number per volume; volumes without label have no influence."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.batch import IGNORE
from dimlift.errors import ShapeError
from dimlift.losses.volume import classification_loss, regression_loss


def test_classification_loss_ignores_unlabelled_volumes():
    logits = torch.randn(4, 3, requires_grad=True)
    label = torch.tensor([0, IGNORE, 2, 1])
    value = classification_loss(logits, label)
    value.backward()
    torch.testing.assert_close(value.detach(), F.cross_entropy(logits.detach()[[0, 2, 3]], label[[0, 2, 3]]))
    assert logits.grad[1].abs().max() == 0
    assert classification_loss(logits, torch.full((4,), IGNORE)) == 0


def test_regression_loss_ignores_unlabelled_volumes():
    prediction = torch.tensor([[1.0], [2.0], [9.0]], requires_grad=True)
    value = regression_loss(prediction, torch.tensor([1.5, 2.0, float("nan")]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(0.0625))
    assert prediction.grad[2] == 0


def test_volume_losses_reject_mismatched_labels():
    with pytest.raises(ShapeError, match="one class per volume"):
        classification_loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ShapeError, match=r"\(2, 1\), got \(2, 3\)"):
        regression_loss(torch.zeros(2, 3), torch.zeros(2))
