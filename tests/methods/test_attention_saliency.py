"""Saliency from the class token's attention."""

import pytest
import torch

from dimlift.methods.i2p_mae.method import I2PMAE
from dimlift.methods.teachers.attention_saliency import attention_saliency
from dimlift.methods.teachers.teacher import open_map_teacher, open_teacher
from small_point_clouds import point_batch, small_network

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}


def test_attention_saliency_is_the_attention_of_the_class_token():
    torch.manual_seed(0)
    teacher = open_teacher("timm:test_vit", dynamic_img_size=True)
    images = torch.rand(2, 3, 64, 64)
    output = attention_saliency(teacher, images)
    torch.testing.assert_close(output.maps, teacher.feature_map(images))
    network = teacher.frozen.network
    attention, recorded = network.blocks[-1].attn, []
    attention.fused_attn = False  # timm's own softmax can be hooked
    attention.attn_drop.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    teacher.feature_map(images)
    expected = recorded[0][:, :, 0].mean(1)[:, network.num_prefix_tokens :]
    torch.testing.assert_close(output.saliency.flatten(1), expected)
    assert (output.saliency.flatten(1).sum(1) <= 1 + 1e-6).all()


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_attention_saliency_includes_biases_and_rotary_positions(name):
    """They change queries, or the products of queries and keys, behind the layer that computes them."""
    torch.manual_seed(0)
    teacher = open_teacher(f"timm:{name}", **SMALL)
    network, recorded = teacher.frozen.network, []
    with torch.no_grad():
        for key, value in network.named_parameters():
            if "bias" in key:
                value.normal_()
    images = torch.rand(1, 3, 32, 32)
    output = attention_saliency(teacher, images)
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    network.blocks[-1].attn.attn_drop.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    teacher.feature_map(images)
    torch.testing.assert_close(output.saliency.flatten(1), recorded[0][:, :, 0].mean(1)[:, 1:])


@pytest.mark.parametrize("kind", ["ViT", "Dinov2"])
def test_attention_saliency_supports_transformers_models(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    settings = getattr(transformers, f"{kind}Config")(image_size=32, patch_size=16, **size)
    model = getattr(transformers, f"{kind}Model")(settings)
    model.save_pretrained(tmp_path)
    teacher, images = open_map_teacher(f"transformers:{tmp_path}"), torch.rand(2, 3, 32, 32)
    output = attention_saliency(teacher, images)
    eager = type(model).from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        attention = eager(teacher.normalise(images), output_attentions=True).attentions[-1]
    expected = attention[:, :, 0].mean(1)[:, 1:]
    torch.testing.assert_close(output.saliency.flatten(1), expected, rtol=1e-4, atol=1e-6)
    assert torch.isfinite(I2PMAE(small_network(), teacher, render_size=32).loss(point_batch()))
