"""One class or one number per volume; those nobody annotated count for nothing."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.batch import IGNORE
from dimlift.errors import ShapeError
from dimlift.losses.volume import classification_loss, regression_loss


def test_unannotated_volumes_are_left_out_of_classification():
    logits = torch.randn(4, 3, requires_grad=True)
    label = torch.tensor([0, IGNORE, 2, 1])
    value = classification_loss(logits, label)
    value.backward()
    torch.testing.assert_close(value.detach(), F.cross_entropy(logits.detach()[[0, 2, 3]], label[[0, 2, 3]]))
    assert logits.grad[1].abs().max() == 0
    assert classification_loss(logits, torch.full((4,), IGNORE)) == 0


def test_unannotated_volumes_are_left_out_of_regression():
    answer = torch.tensor([[1.0], [2.0], [9.0]], requires_grad=True)
    value = regression_loss(answer, torch.tensor([1.5, 2.0, float("nan")]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(0.0625))
    assert answer.grad[2] == 0


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="one class per volume"):
        classification_loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ShapeError, match=r"\(2, 1\), got \(2, 3\)"):
        regression_loss(torch.zeros(2, 3), torch.zeros(2))
