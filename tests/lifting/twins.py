"""Small models of transformers, and the models of timm that compute the same function."""

import pytest

from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

ensure_torchvision_imports()
transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")

WIDTH, SIDE, PATCH = 48, 32, 16
SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TIMM = {"img_size": SIDE, "embed_dim": WIDTH, "depth": 2, "num_heads": 3, "mlp_ratio": 2, "patch_size": PATCH}
EPS = {"layer_norm_eps": 1e-6}
STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
SWIN = {"embed_dim": 24, "depths": [1, 2], "num_heads": [2, 4], "image_size": 64}
SWIN_TIMM = {"embed_dim": 24, "depths": (1, 2), "num_heads": (2, 4), "img_size": 64}


def build_hf(name, **settings):
    """Build a model of transformers from "CONFIG:MODEL", the name of its configuration class without the suffix."""
    kind, _, model = name.partition(":")
    return getattr(transformers, model)(getattr(transformers, f"{kind}Config")(**settings))


CASES = {  # model of transformers, name in timm, options of timm
    "vit": (
        lambda: build_hf("ViT:ViTForImageClassification", **SHAPE, **EPS, num_labels=5),
        "vit_tiny_patch16_224",
        TIMM | {"num_classes": 5},
    ),
    "deit": (
        lambda: build_hf("DeiT:DeiTForImageClassificationWithTeacher", **SHAPE, **EPS, num_labels=5),
        "deit_tiny_distilled_patch16_224",
        TIMM | {"num_classes": 5},
    ),
    "beit": (
        lambda: build_hf(
            "Beit:BeitForImageClassification",
            **SHAPE,
            layer_norm_eps=1e-6,
            use_relative_position_bias=True,
            use_absolute_position_embeddings=False,
            use_mean_pooling=True,
            num_labels=5,
        ),
        "beit_base_patch16_224",
        TIMM | {"num_classes": 5},
    ),
    "mae": (
        lambda: build_hf(
            "ViTMAE:ViTMAEForPreTraining",
            **SHAPE,
            **EPS,
            decoder_hidden_size=24,
            decoder_num_attention_heads=2,
            decoder_num_hidden_layers=1,
            decoder_intermediate_size=24,
        ),
        "vit_base_patch16_224",
        TIMM | {"num_classes": 0},
    ),
    "dinov2": (
        lambda: build_hf("Dinov2:Dinov2Model", **SHAPE | {"patch_size": 16}, **EPS, mlp_ratio=2),
        "vit_small_patch14_dinov2",
        TIMM,
    ),
    "dinov2 with registers": (
        lambda: build_hf(
            "Dinov2WithRegisters:Dinov2WithRegistersModel", **SHAPE, **EPS, mlp_ratio=2, num_register_tokens=4
        ),
        "vit_small_patch14_reg4_dinov2",
        TIMM,
    ),
    "dinov2 gated": (
        lambda: build_hf("Dinov2:Dinov2Model", **SHAPE, **EPS, mlp_ratio=4, use_swiglu_ffn=True),
        "vit_giant_patch14_dinov2",
        TIMM | {"mlp_ratio": 128 * 2 / 48},
    ),
    "dinov3": (
        lambda: build_hf("DINOv3ViT:DINOv3ViTModel", **SHAPE, num_register_tokens=4, layer_norm_eps=1e-5),
        "vit_small_patch16_dinov3_qkvb",
        TIMM,
    ),
    "dinov3 gated": (
        lambda: build_hf(
            "DINOv3ViT:DINOv3ViTModel",
            **SHAPE,
            num_register_tokens=4,
            use_gated_mlp=True,
            hidden_act="silu",
            query_bias=False,
            value_bias=False,
        ),
        "vit_huge_plus_patch16_dinov3",
        TIMM,
    ),
    "clip": (
        lambda: build_hf(
            "CLIPVision:CLIPVisionModelWithProjection", **SHAPE, projection_dim=32, hidden_act="quick_gelu"
        ),
        "vit_base_patch16_clip_quickgelu_224",
        TIMM | {"num_classes": 32},
    ),
    "siglip": (
        lambda: build_hf("SiglipVision:SiglipVisionModel", **SHAPE, hidden_act="gelu"),
        "vit_base_patch16_siglip_224",
        TIMM,
    ),
    "swin": (
        lambda: build_hf("Swin:SwinForImageClassification", **SWIN, window_size=4, num_labels=5),
        "swin_tiny_patch4_window7_224",
        SWIN_TIMM | {"window_size": 4, "num_classes": 5},
    ),
    "swinv2": (
        lambda: build_hf("Swinv2:Swinv2ForImageClassification", **SWIN, window_size=8, num_labels=5),
        "swinv2_tiny_window8_256",
        SWIN_TIMM | {"window_size": 8, "num_classes": 5},
    ),
    "convnext": (
        lambda: build_hf("ConvNext:ConvNextForImageClassification", **STAGES, num_labels=5, layer_norm_eps=1e-6),
        "convnext_tiny",
        {"dims": STAGES["hidden_sizes"], "depths": STAGES["depths"], "num_classes": 5},
    ),
    "convnextv2": (
        lambda: build_hf("ConvNextV2:ConvNextV2ForImageClassification", **STAGES, num_labels=5),
        "convnextv2_tiny",
        {"dims": STAGES["hidden_sizes"], "depths": STAGES["depths"], "num_classes": 5},
    ),
    "dinov3 convnext": (
        lambda: build_hf("DINOv3ConvNext:DINOv3ConvNextModel", **STAGES),
        "convnext_tiny",
        {"dims": STAGES["hidden_sizes"], "depths": STAGES["depths"], "num_classes": 0},
    ),
    "resnet": (
        lambda: build_hf(
            "ResNet:ResNetForImageClassification",
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
            depths=[2, 2, 2, 2],
            layer_type="basic",
            num_labels=5,
        ),
        "resnet18",
        {"num_classes": 5},
    ),
}
