"""Dice plus cross-entropy over annotated voxels only."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.batch import IGNORE
from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.segmentation import DiceCELoss, set_class_weights


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    label = torch.randint(0, 3, (2, 4, 5, 6), generator=generator, dtype=torch.int16)
    masked = torch.rand(label.shape, generator=generator) < 0.4
    return logits, torch.where(masked, IGNORE, label).to(torch.int16), masked


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_dice_ce_loss_ignores_masked_voxels(batch_dice, include_background):
    logits, label, masked = _batch()
    loss = DiceCELoss(batch_dice=batch_dice, include_background=include_background)
    logits.requires_grad_()
    value = loss(logits, label)
    value.backward()
    everywhere = masked[:, None].expand_as(logits)
    assert logits.grad[everywhere].abs().max() == 0
    assert logits.grad[~everywhere].abs().max() > 0
    infinite = torch.where(everywhere, torch.tensor(float("inf")), logits.detach())
    torch.testing.assert_close(loss(infinite, label), value.detach(), rtol=0, atol=0)


def test_dice_ce_loss_masking_equals_cropping():
    logits, label, _ = _batch(1)
    label[:, :2] = IGNORE
    loss = DiceCELoss()
    label[:, 2:] = label[:, 2:].clamp(min=0)
    torch.testing.assert_close(loss(logits, label), loss(logits[:, :, 2:], label[:, 2:]))


def test_dice_ce_loss_terms():
    logits, label, _ = _batch(2)
    only_entropy = DiceCELoss(dice=0.0)(logits, label)
    torch.testing.assert_close(only_entropy, F.cross_entropy(logits, label.long(), ignore_index=IGNORE))
    certain = 100.0 * F.one_hot(label.long().clamp(min=0), 3).movedim(-1, 1).float()
    assert DiceCELoss(cross_entropy=0.0)(certain, label) < 1e-4
    assert DiceCELoss(cross_entropy=0.0)(-certain, label) > 0.9


def test_dice_ce_loss_without_annotation_is_zero_with_gradient():
    logits = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    value = DiceCELoss()(logits, torch.full((1, 3, 3, 3), IGNORE))
    value.backward()
    assert value == 0
    assert logits.grad.abs().max() == 0


def test_dice_ce_loss_class_weights_are_not_in_state_dict():
    logits, label, _ = _batch(3)
    weighted = DiceCELoss(dice=0.0, class_weights=(0.1, 1.0, 5.0))
    assert weighted(logits, label) != DiceCELoss(dice=0.0)(logits, label)
    assert not weighted.state_dict()


def test_dice_ce_loss_sums_half_precision_in_float32():
    logits, label, _ = _batch(4)
    with torch.autocast("cpu", torch.bfloat16):
        value = DiceCELoss()(logits.bfloat16(), label)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, DiceCELoss()(logits, label), rtol=2e-2, atol=0)


def test_dice_ce_loss_rejects_mismatched_shapes():
    with pytest.raises(ShapeError, match=r"\(1, 4, 4, 4\).*got \(1, 2, 4, 4\)"):
        DiceCELoss()(torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.long))


def test_dice_ce_loss_focal_weights():
    """Cross-entropy is weighted by (1 - p) ** 2; ignored voxels are in neither numerator nor denominator."""
    probabilities = torch.tensor([0.9, 0.5, 0.2])
    logits = torch.stack([torch.log(1 - probabilities), torch.log(probabilities)])[None, :, None, None]
    label = torch.tensor([1, 1, IGNORE])[None, None, None]
    expected = -(0.1**2 * torch.log(probabilities[0]) + 0.5**2 * torch.log(probabilities[1])) / 2
    torch.testing.assert_close(DiceCELoss(dice=0, focal=2.0)(logits, label), expected)
    plain = DiceCELoss(dice=0)(logits, label)
    torch.testing.assert_close(DiceCELoss(dice=0, focal=1e-6)(logits, label), plain, rtol=1e-4, atol=1e-5)


def test_set_class_weights_changes_losses_and_rejects_other_methods():
    method = nn.ModuleDict({"criterion": DiceCELoss(dice=0.0)})
    set_class_weights(method, (0.0, 1.0))
    logits = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[..., 0] += torch.tensor([5.0, -5.0])[None]
    label = torch.tensor([[0, 1, 1, 0]])
    assert method["criterion"](logits, label) == method["criterion"](other, label)  # background has weight 0
    with pytest.raises(ConfigError, match="no loss with class weights"):
        set_class_weights(nn.Linear(1, 1), (1.0, 1.0))
