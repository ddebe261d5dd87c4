"""Dice plus cross-entropy looks at annotated voxels, and at nothing else."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.batch import IGNORE
from dimlift.errors import ConfigError, ShapeError
from dimlift.losses.segmentation import DiceCrossEntropy, weigh_classes


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    label = torch.randint(0, 3, (2, 4, 5, 6), generator=generator, dtype=torch.int16)
    masked = torch.rand(label.shape, generator=generator) < 0.4
    return logits, torch.where(masked, IGNORE, label).to(torch.int16), masked


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_masked_voxels_have_no_influence_and_no_gradient(batch_dice, include_background):
    logits, label, masked = _batch()
    loss = DiceCrossEntropy(batch_dice=batch_dice, include_background=include_background)
    logits.requires_grad_()
    value = loss(logits, label)
    value.backward()
    everywhere = masked[:, None].expand_as(logits)
    assert logits.grad[everywhere].abs().max() == 0
    assert logits.grad[~everywhere].abs().max() > 0
    shouted = torch.where(everywhere, torch.tensor(float("inf")), logits.detach())
    torch.testing.assert_close(loss(shouted, label), value.detach(), rtol=0, atol=0)


def test_masking_is_the_same_as_cutting_the_voxels_away():
    logits, label, _ = _batch(1)
    label[:, :2] = IGNORE
    loss = DiceCrossEntropy()
    label[:, 2:] = label[:, 2:].clamp(min=0)
    torch.testing.assert_close(loss(logits, label), loss(logits[:, :, 2:], label[:, 2:]))


def test_cross_entropy_term_is_torchs_own_and_dice_term_falls_to_zero_on_the_truth():
    logits, label, _ = _batch(2)
    only_entropy = DiceCrossEntropy(dice=0.0)(logits, label)
    torch.testing.assert_close(only_entropy, F.cross_entropy(logits, label.long(), ignore_index=IGNORE))
    certain = 100.0 * F.one_hot(label.long().clamp(min=0), 3).movedim(-1, 1).float()
    assert DiceCrossEntropy(cross_entropy=0.0)(certain, label) < 1e-4
    assert DiceCrossEntropy(cross_entropy=0.0)(-certain, label) > 0.9


def test_nothing_annotated_gives_zero_with_a_gradient():
    logits = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    value = DiceCrossEntropy()(logits, torch.full((1, 3, 3, 3), IGNORE))
    value.backward()
    assert value == 0
    assert logits.grad.abs().max() == 0


def test_class_weights_move_the_loss_and_stay_out_of_the_checkpoint():
    logits, label, _ = _batch(3)
    weighted = DiceCrossEntropy(dice=0.0, class_weights=(0.1, 1.0, 5.0))
    assert weighted(logits, label) != DiceCrossEntropy(dice=0.0)(logits, label)
    assert not weighted.state_dict()


def test_half_precision_logits_are_summed_in_float32():
    logits, label, _ = _batch(4)
    with torch.autocast("cpu", torch.bfloat16):
        value = DiceCrossEntropy()(logits.bfloat16(), label)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, DiceCrossEntropy()(logits, label), rtol=2e-2, atol=0)


def test_a_label_of_another_size_is_refused_with_both_shapes():
    with pytest.raises(ShapeError, match=r"\(1, 4, 4, 4\).*got \(1, 2, 4, 4\)"):
        DiceCrossEntropy()(torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.long))


def test_focal_loss_weighs_voxels_by_what_they_still_have_to_learn():
    """(1 - p) ** 2 of each voxel's cross-entropy; an ignored voxel counts neither above nor below the line."""
    chances = torch.tensor([0.9, 0.5, 0.2])
    logits = torch.stack([torch.log(1 - chances), torch.log(chances)])[None, :, None, None]
    label = torch.tensor([1, 1, IGNORE])[None, None, None]
    wanted = -(0.1**2 * torch.log(chances[0]) + 0.5**2 * torch.log(chances[1])) / 2
    torch.testing.assert_close(DiceCrossEntropy(dice=0, focal=2.0)(logits, label), wanted)
    plain = DiceCrossEntropy(dice=0)(logits, label)
    torch.testing.assert_close(DiceCrossEntropy(dice=0, focal=1e-6)(logits, label), plain, rtol=1e-4, atol=1e-5)


def test_a_method_weighs_its_classes_as_told_and_others_refuse():
    method = nn.ModuleDict({"criterion": DiceCrossEntropy(dice=0.0)})
    weigh_classes(method, (0.0, 1.0))
    logits = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[..., 0] += torch.tensor([5.0, -5.0])[None]
    label = torch.tensor([[0, 1, 1, 0]])
    assert method["criterion"](logits, label) == method["criterion"](other, label)  # background weighs nothing
    with pytest.raises(ConfigError, match="weighs classes"):
        weigh_classes(nn.Linear(1, 1), (1.0, 1.0))
