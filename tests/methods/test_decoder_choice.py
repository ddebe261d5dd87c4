"""Decoders selected by name, behind hierarchical networks and plain vision transformers."""

from typing import get_args

import pytest
import torch

from dimlift.config.method_config import TaskSpec
from dimlift.decoders.cascade import CascadedUpsampler
from dimlift.decoders.fpn import FPNDecoder
from dimlift.decoders.mlp import MLPDecoder
from dimlift.decoders.swin import SwinDecoder
from dimlift.decoders.unetr import UNETRDecoder
from dimlift.decoders.upernet import UPerNetDecoder
from dimlift.decoders.upernext import UperNeXtDecoder
from dimlift.errors import ConfigError
from dimlift.methods.lifted.decoder_choice import DecoderName
from dimlift.methods.registry import METHODS

KINDS = {
    "fpn": FPNDecoder,
    "upernet": UPerNetDecoder,
    "unetr": UNETRDecoder,
    "mlp": MLPDecoder,
    "upernext": UperNeXtDecoder,
    "cascade": CascadedUpsampler,
    "swin": SwinDecoder,
}


@pytest.mark.parametrize("decoder", get_args(DecoderName))
@pytest.mark.parametrize("method", ["slicewise", "lifted"])
@pytest.mark.parametrize("network", ["timm:test_resnet", "timm:test_vit"])
def test_decoder_is_selected_by_name(decoder, method, network):
    task = TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (3, 32, 48))
    options = {"network": network, "pretrained": False, "decoder_channels": 8, "decoder": decoder}
    if network == "timm:test_vit":
        options |= {"image_size": 32, "out_indices": [0, 1, 2]}
    built = METHODS[method].model_validate({"method": method, **options}).build(task, load_pretrained=False)
    assert isinstance(built.model.decoder, KINDS[decoder])
    assert built.model.decoder.depth_kernel == (1 if method == "slicewise" else 3)
    if network == "timm:test_vit":
        assert len(set(built.model.encoder.strides)) == 1
        assert len(built.model.encoder.channels) == 3
    assert built(torch.randn(1, 1, 3, 32, 32)).shape == (1, 3, 3, 32, 32)


@pytest.mark.parametrize("decoder", ["fpn", "upernet", "unetr", "mlp", "upernext"])
def test_depth_plan_follows_spacing_of_the_data(decoder):
    options = {
        "method": "lifted",
        "network": "timm:test_resnet",
        "pretrained": False,
        "decoder_channels": 8,
        "decoder": decoder,
    }
    arm = METHODS["lifted"].model_validate({**options, "plan": {"spacing": "data"}})
    shape = (9, 32, 48)
    for spacing, deep in (((1.0, 1.0, 1.0), True), ((200.0, 1.0, 1.0), False)):
        built = arm.build(TaskSpec("segmentation", 1, 3, spacing, shape), load_pretrained=False)
        assert [stride[0] > 1 for stride in built.model.encoder.strides] == [deep] * len(built.model.encoder.strides)
        assert built(torch.randn(1, 1, *shape)).shape == (1, 3, *shape)
    with pytest.raises(ConfigError, match=r"preprocessing\.spacing to median"):
        arm.build(TaskSpec("segmentation", 1, 3, None, shape), load_pretrained=False)
