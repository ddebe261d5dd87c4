"""TransSeg: the loss covers the slices whose windows are complete, with their neighbouring slices."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.inference.predictor import Predictor
from dimlift.methods.method import Method
from dimlift.methods.transseg.config import PAPER, TransSegConfig

SMALL = {"network": "timm:test_resnet", "pretrained": False, "decoder_channels": 8}


def _method(**options):
    arm = TransSegConfig.model_validate({**SMALL, "window": 3, **options})
    torch.manual_seed(0)
    return arm.build(TaskSpec("segmentation", 1, 2, None, (5, 32, 32)), load_pretrained=False)


def _batch(depth: int) -> VolumeBatch:
    image = torch.randn(2, 1, depth, 32, 32, generator=torch.Generator().manual_seed(1))
    return VolumeBatch(image, (image[:, 0] > 0).long(), ("a", "b"))


@pytest.mark.parametrize(("predict", "covered"), [("centre", [1, 2, 3]), ("all", [0, 1, 2, 3, 4])])
def test_transseg_loss_covers_predicted_slices(predict, covered):
    method, batch = _method(predict=predict).eval(), _batch(5)
    assert isinstance(method, Method)
    before = method.loss(batch)
    affects = []
    for index in range(5):
        label = batch.label.clone()
        label[:, index] = 1 - label[:, index]
        if not torch.equal(method.loss(batch._replace(label=label)), before):
            affects.append(index)
    assert affects == covered


def test_transseg_loss_equals_loss_of_volume_logits():
    """Inner slices of a patch have the same logits in training and in whole volumes."""
    method, batch = _method().eval(), _batch(5)
    logits = method(batch.image)[:, :, 1:4]
    singles = logits.transpose(1, 2).flatten(0, 1)[:, :, None]
    expected = method.criterion(singles, batch.label[:, 1:4].flatten(0, 1)[:, None])
    torch.testing.assert_close(method.loss(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("predict", ["centre", "all"])
def test_transseg_trains_every_weight_and_tap(depth, predict):
    method = _method(predict=predict, inflation="average").train()
    method.loss(_batch(depth)).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []
    taps = next(p.grad for p in method.model.encoder.parameters() if p.dim() == 5)
    assert taps.abs().amax((0, 1, 3, 4)).min() > 0


@pytest.mark.parametrize("predict", ["centre", "all"])
def test_transseg_supports_bfloat16(predict):
    method, batch = _method(predict=predict).eval(), _batch(5)
    with torch.autocast("cpu", torch.bfloat16):
        logits, loss = method(batch.image), method.loss(batch)
    loss.backward()
    torch.testing.assert_close(logits.float().softmax(1), method(batch.image).softmax(1), rtol=0, atol=0.1)
    assert all(p.grad.isfinite().all() for p in method.parameters())


def test_transseg_patch_depth_spans_windows():
    assert TransSegConfig(window=5, windows_per_patch=1).training_patch_size((64, 32, 48)) == (5, 32, 48)
    assert TransSegConfig(window=5, windows_per_patch=8).training_patch_size((64, 32, 48)) == (12, 32, 48)


def test_transseg_predicts_with_true_neighbours():
    """Inference does not split depth into training patches, whose outer slices would have repeated neighbours."""
    arm = TransSegConfig.model_validate({**SMALL, "window": 3, "windows_per_patch": 1})
    method = _method(inflation="average").eval()
    trained = Predictor(arm, TaskSpec("segmentation", 1, 2, None, (3, 32, 32)), None, method)
    image = torch.randn(1, 11, 32, 32)
    with torch.inference_mode():
        expected = method(image[None])[0].argmax(0)
    np.testing.assert_array_equal(trained.predict(SimpleNamespace(image=image.numpy(), name="case")), expected.numpy())


def test_transseg_paper_preset_is_overridden_by_keys():
    arm = TransSegConfig.model_validate({"preset": "paper", "decoder_channels": 64})
    assert arm.decoder_channels == 64
    assert {name: getattr(arm, name) for name in PAPER if name not in ("decoder_channels", "out_indices")} == {
        name: value for name, value in PAPER.items() if name not in ("decoder_channels", "out_indices")
    }
    assert arm.out_indices == (3, 5, 7, 11)
    assert TransSegConfig.model_validate(arm.model_dump(mode="json")) == arm
    with pytest.raises(ValueError, match="4 slices has no centre"):
        TransSegConfig(window=4)
