"""A teacher is asked and never taught."""

import pytest
import torch

from dimlift.errors import CannotLift
from dimlift.methods.teachers.teacher import open_teacher


@pytest.fixture(scope="module")
def teacher():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_teacher("timm:vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=2, num_classes=7)


def test_answers_vectors_and_maps_have_the_shapes_of_the_network(teacher):
    pictures = torch.rand(2, 3, 32, 32)
    assert teacher.logits(pictures).shape == (2, 7)
    assert teacher.vectors(pictures).shape == (2, 24)
    assert teacher.maps(pictures).shape == (2, 24, 2, 2)


def test_no_answer_carries_a_gradient(teacher):
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    for ask in (teacher.logits, teacher.vectors, teacher.maps):
        assert not ask(pictures).requires_grad
    assert not any(p.requires_grad for p in teacher.frozen.network.parameters())


def test_a_woken_teacher_goes_back_to_sleep(teacher):
    pictures = torch.rand(2, 3, 32, 32)
    for ask in (teacher.logits, teacher.vectors, teacher.maps):
        teacher.frozen.network.train()
        ask(pictures)
        assert not any(module.training for module in teacher.frozen.network.modules())


def test_vectors_are_what_the_head_reads(teacher):
    pictures = torch.rand(2, 3, 32, 32)
    head = teacher.frozen.network.head
    assert torch.allclose(head(teacher.vectors(pictures)), teacher.logits(pictures), atol=1e-6)


def test_a_network_of_transformers_is_asked_like_one_of_timm(tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.ViTConfig(image_size=32, patch_size=16, **size)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    teacher, pictures = open_teacher(f"transformers:{tmp_path}", features_only=True), torch.rand(2, 3, 32, 32)
    assert teacher.maps(pictures).shape == (2, 24, 2, 2)
    assert torch.allclose(teacher.vectors(pictures), teacher.maps(pictures).mean((2, 3)))
    assert not teacher.maps(pictures).requires_grad
    (tmp_path / "whole").mkdir()
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "whole")
    whole = open_teacher(f"transformers:{tmp_path / 'whole'}")
    assert whole.logits(pictures).shape == (2, 2)
    with pytest.raises(CannotLift, match="features_only=True"):
        whole.maps(pictures)


def test_a_network_of_maps_has_no_answers():
    teacher = open_teacher("packaged:efficientnet_lite0", features_only=True)
    with pytest.raises(CannotLift, match="head"):
        teacher.logits(torch.rand(1, 3, 32, 32))
