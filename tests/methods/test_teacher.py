"""Frozen 2D teachers."""

import pytest
import torch

from dimlift.errors import LiftError
from dimlift.methods.teachers.teacher import open_teacher


@pytest.fixture(scope="module")
def teacher():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_teacher("timm:vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=2, num_classes=7)


def test_teacher_outputs_have_the_shapes_of_the_network(teacher):
    images = torch.rand(2, 3, 32, 32)
    assert teacher.logits(images).shape == (2, 7)
    assert teacher.embed(images).shape == (2, 24)
    assert teacher.feature_map(images).shape == (2, 24, 2, 2)


def test_teacher_outputs_carry_no_gradient(teacher):
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    for function in (teacher.logits, teacher.embed, teacher.feature_map):
        assert not function(images).requires_grad
    assert not any(p.requires_grad for p in teacher.frozen.network.parameters())


def test_teacher_returns_to_eval_mode(teacher):
    images = torch.rand(2, 3, 32, 32)
    for function in (teacher.logits, teacher.embed, teacher.feature_map):
        teacher.frozen.network.train()
        function(images)
        assert not any(module.training for module in teacher.frozen.network.modules())


def test_teacher_embedding_is_the_input_of_the_head(teacher):
    images = torch.rand(2, 3, 32, 32)
    head = teacher.frozen.network.head
    assert torch.allclose(head(teacher.embed(images)), teacher.logits(images), atol=1e-6)


def test_teacher_supports_transformers_models(tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.ViTConfig(image_size=32, patch_size=16, **size)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    teacher, images = open_teacher(f"transformers:{tmp_path}", features_only=True), torch.rand(2, 3, 32, 32)
    assert teacher.feature_map(images).shape == (2, 24, 2, 2)
    assert torch.allclose(teacher.embed(images), teacher.feature_map(images).mean((2, 3)))
    assert not teacher.feature_map(images).requires_grad
    (tmp_path / "classifier").mkdir()
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "classifier")
    classifier = open_teacher(f"transformers:{tmp_path / 'classifier'}")
    assert classifier.logits(images).shape == (2, 2)
    with pytest.raises(LiftError, match="features_only=True"):
        classifier.feature_map(images)


def test_teacher_without_head_rejects_logits():
    teacher = open_teacher("packaged:efficientnet_lite0", features_only=True)
    with pytest.raises(LiftError, match="head"):
        teacher.logits(torch.rand(1, 3, 32, 32))
