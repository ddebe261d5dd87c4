"""Two losses weighed alike: pseudo-labels of voxels, and the real class of each volume."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.self_training.multitask import Multitask
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.segmenter import Segmenter
from dimlift.models.unet import plain_unet

ANSWERS = {"first": 2, "second": 0, "third": 1}


def joint():
    torch.manual_seed(0)
    encoder = lift("timm:test_resnet", DepthPlan(), in_chans=1, features_only=True, certify=False)
    return Multitask(Supervised(Segmenter(encoder, 2)), ANSWERS, 3).eval()


def batch():
    return VolumeBatch(torch.randn(2, 1, 4, 32, 32), torch.randint(0, 2, (2, 4, 32, 32)), ("third", "first"))


def test_the_loss_is_that_of_voxels_plus_the_cross_entropy_of_the_named_volumes():
    method, shown = joint(), batch()
    logits = method.head(method.model.encoder(shown.image)[-1].mean((2, 3, 4)))
    expected = method.method.loss(shown) + F.cross_entropy(logits, torch.tensor([1, 2]))
    torch.testing.assert_close(method.loss(shown), expected)


def test_both_losses_teach_the_encoder_and_each_its_head():
    method, shown = joint(), batch()
    method.loss(shown).backward()
    parts = (method.head, method.model.decoder, method.model.encoder)
    assert all(any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in parts)
    handed = {id(p) for group in method.param_groups(1.0) for p in group["params"]}
    assert handed == {id(p) for p in method.parameters()}


def test_a_network_without_maps_is_refused():
    with pytest.raises(ConfigError, match="use a method such as lifted"):
        Multitask(Supervised(plain_unet(1, 2, widths=(4, 8))), ANSWERS, 3)
