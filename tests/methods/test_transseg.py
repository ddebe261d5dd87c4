"""What a TransSeg step learns from: the slices its windows answer for, seen with their neighbours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.inference.predictor import Trained
from dimlift.methods.method import Method
from dimlift.methods.transseg.config import PAPER, TransSegArm

SMALL = {"network": "timm:test_resnet", "pretrained": False, "width": 8}


def _method(**options):
    arm = TransSegArm.model_validate({**SMALL, "window": 3, **options})
    torch.manual_seed(0)
    return arm.build(Task("segmentation", 1, 2, None, (5, 32, 32)), fresh=False)


def _batch(depth: int) -> VolumeBatch:
    image = torch.randn(2, 1, depth, 32, 32, generator=torch.Generator().manual_seed(1))
    return VolumeBatch(image, (image[:, 0] > 0).long(), ("a", "b"))


@pytest.mark.parametrize(("predict", "learns"), [("centre", [1, 2, 3]), ("all", [0, 1, 2, 3, 4])])
def test_the_loss_is_about_the_slices_windows_answer_for(predict, learns):
    method, batch = _method(predict=predict).eval(), _batch(5)
    assert isinstance(method, Method)
    before = method.loss(batch)
    matters = []
    for index in range(5):
        label = batch.label.clone()
        label[:, index] = 1 - label[:, index]
        if not torch.equal(method.loss(batch._replace(label=label)), before):
            matters.append(index)
    assert matters == learns


def test_the_loss_is_that_of_the_volumes_answer():
    """Training patches and whole volumes go the same way: inner slices of a patch are answered alike."""
    method, batch = _method().eval(), _batch(5)
    answer = method(batch.image)[:, :, 1:4]
    singles = answer.transpose(1, 2).flatten(0, 1)[:, :, None]
    wanted = method.criterion(singles, batch.label[:, 1:4].flatten(0, 1)[:, None])
    torch.testing.assert_close(method.loss(batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("predict", ["centre", "all"])
def test_neighbours_are_learnt_from_and_every_weight_moves(depth, predict):
    method = _method(predict=predict, profile="average").train()
    method.loss(_batch(depth)).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []
    taps = next(p.grad for p in method.model.encoder.parameters() if p.dim() == 5)
    assert taps.abs().amax((0, 1, 3, 4)).min() > 0


@pytest.mark.parametrize("predict", ["centre", "all"])
def test_bfloat16_learns_and_answers_nearly_the_same(predict):
    method, batch = _method(predict=predict).eval(), _batch(5)
    with torch.autocast("cpu", torch.bfloat16):
        answer, loss = method(batch.image), method.loss(batch)
    loss.backward()
    torch.testing.assert_close(answer.float().softmax(1), method(batch.image).softmax(1), rtol=0, atol=0.1)
    assert all(p.grad.isfinite().all() for p in method.parameters())


def test_a_patch_is_as_deep_as_its_windows_together():
    assert TransSegArm(window=5, slices=1).patch_size((64, 32, 48)) == (5, 32, 48)
    assert TransSegArm(window=5, slices=8).patch_size((64, 32, 48)) == (12, 32, 48)


def test_a_trained_network_sees_true_neighbours_across_the_whole_depth():
    """Prediction does not cut depth into training patches, whose outer slices would see repeated neighbours."""
    arm = TransSegArm.model_validate({**SMALL, "window": 3, "slices": 1})
    method = _method(profile="average").eval()
    trained = Trained(arm, Task("segmentation", 1, 2, None, (3, 32, 32)), None, method)
    image = torch.randn(1, 11, 32, 32)
    with torch.inference_mode():
        wanted = method(image[None])[0].argmax(0)
    np.testing.assert_array_equal(trained.answer(SimpleNamespace(image=image.numpy())), wanted.numpy())


def test_the_paper_preset_gives_way_to_what_is_said():
    arm = TransSegArm.model_validate({"preset": "paper", "width": 64})
    assert arm.width == 64
    assert {name: getattr(arm, name) for name in PAPER if name not in ("width", "maps")} == {
        name: value for name, value in PAPER.items() if name not in ("width", "maps")
    }
    assert arm.maps == (3, 5, 7, 11)
    assert TransSegArm.model_validate(arm.model_dump(mode="json")) == arm
    with pytest.raises(ValueError, match="4 slices has no centre"):
        TransSegArm(window=4)
