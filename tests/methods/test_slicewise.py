"""Slice-by-slice segmentation keeps slices separate; lifted networks mix them along depth."""

import pytest
import torch

from dimlift.batch import VolumeBatch
from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import PlanError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.method import Method
from dimlift.methods.slicewise.method import slice_by_slice
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.segmenter import Segmenter

NETWORK = "packaged:efficientnet_lite0"
FLAT = DepthPlan(kernel=1)


def _encoder(plan: DepthPlan):
    return lift(NETWORK, plan, in_chans=1, features_only=True, certify=False)


def _moved_slices(method: Supervised) -> torch.Tensor:
    """Return the change of the logits of each slice when slice 2 alone is changed."""
    torch.manual_seed(0)
    volume = torch.randn(1, 1, 5, 33, 40)
    changed = volume.clone()
    changed[:, :, 2] = torch.randn(33, 40)
    with torch.no_grad():
        return (method(changed) - method(volume)).abs().amax((0, 1, 3, 4))


def test_slice_by_slice_keeps_slices_separate():
    method = slice_by_slice(_encoder(FLAT), 3).eval()
    assert isinstance(method, Method)
    moved = _moved_slices(method)
    assert moved[[0, 1, 3, 4]].max() < 1e-5
    assert moved[2] > 1e-2


def test_depth_kernels_of_encoder_or_decoder_mix_slices():
    deep = _encoder(DepthPlan(kernel=3, inflation="average"))
    decoder = FPNDecoder(deep.channels, deep.strides, 3, decoder_channels=16, depth_kernel=1)
    deep_kernels = Supervised(Segmenter(deep, 3, decoder=decoder))
    deep_decoder = Supervised(Segmenter(_encoder(FLAT), 3))
    for method in (deep_kernels, deep_decoder):
        assert _moved_slices(method.eval())[[1, 3]].min() > 1e-4


def test_lifted_segmenter_trains_all_weights_in_bfloat16_and_channels_last():
    torch.manual_seed(0)
    encoder = _encoder(DepthPlan(kernel=3, depth_pool=(1, 2, 1, 1)))
    method = Supervised(Segmenter(encoder, 2), encoder_lr_scale=0.1, layer_decay=0.8).train()
    for parameter in method.parameters():  # a lifted network has kernels of both ranks
        if parameter.dim() > 3:
            layout = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
    groups = method.param_groups(1e-3)
    assert len(groups) > 5
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in method.parameters()}
    image = torch.randn(1, 1, 5, 32, 35).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        value = method.loss(VolumeBatch(image, (image[:, 0] > 0).long(), ("a",)))
    value.backward()
    assert value.isfinite()
    no_gradient = [name for name, p in method.named_parameters() if p.grad is None]
    assert not no_gradient


def test_lifted_segmenter_checkpointing_keeps_gradients():
    torch.manual_seed(0)
    gradients = []
    image = torch.randn(2, 1, 3, 32, 32)
    batch = VolumeBatch(image, (image[:, 0] > 0).long(), ("a", "b"))
    plain = Segmenter(_encoder(DepthPlan(kernel=3)), 2)
    frugal = Segmenter(_encoder(DepthPlan(kernel=3)), 2, gradient_checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    for model in (plain, frugal):
        method = Supervised(model).train()
        method.loss(batch).backward()
        gradients.append({name: p.grad for name, p in method.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    scale = max(g.abs().max() for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert (gradient - gradients[1][name]).abs().max() < 1e-3 * scale, name


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        (DepthPlan(kernel=3), "kernel=3"),
        (DepthPlan(kernel=1, depth_pool=(1, 2, 1, 1)), "depth_pool"),
        (DepthPlan(kernel=1, pool="volume"), "pool='volume'"),
    ],
)
def test_slice_by_slice_rejects_depth_mixing_plans(plan, found):
    with pytest.raises(PlanError, match=found):
        slice_by_slice(_encoder(plan), 2)
    with pytest.raises(PlanError, match="no depth plan"):
        slice_by_slice(torch.nn.Identity(), 2)


def test_slice_by_slice_rejects_depth_mixing_decoders():
    encoder = _encoder(FLAT)
    with pytest.raises(PlanError, match="depth_kernel=1, got 3"):
        slice_by_slice(encoder, 2, decoder=FPNDecoder(encoder.channels, encoder.strides, 2))
