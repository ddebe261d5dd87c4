"""Token encoders of point clouds."""

import pytest
import torch

from dimlift.backbones.factory import create_backbone
from dimlift.errors import LiftError, ShapeError
from dimlift.geometry.patches import propagate_visibility
from dimlift.models.point_classifier import PointCloudClassifier
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder
from dimlift.models.point_vit import PointViT, PointViTSegmenter

SIZES = {
    "one level": {"num_groups": (12,), "group_sizes": (8,), "widths": (24,), "depths": (2,), "heads": 2},
    "three levels": {
        "num_groups": (32, 16, 8), "group_sizes": (8, 4, 3), "widths": (12, 24, 48), "depths": (1, 1, 1), "heads": 2,
    },
    "merging alone below": {
        "num_groups": (32, 8), "group_sizes": (8, 4), "widths": (12, 24), "depths": (0, 2), "heads": 2,
    },
}  # fmt: skip


def point_clouds(points: int = 100, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(1))


def encoder(size: str) -> PointM2AEEncoder:
    torch.manual_seed(0)
    return PointM2AEEncoder(**SIZES[size])


@pytest.mark.parametrize("size", SIZES)
def test_encoder_is_invariant_to_the_order_of_points(size):
    points, network = point_clouds(), encoder(size)
    one, other = network(points), network(points[:, torch.randperm(100)])
    torch.testing.assert_close(one.values, other.values)
    torch.testing.assert_close(one.centres, other.centres)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_encoder_ignores_masked_points(size, training):
    """Moving the points of masked patches alone, with the patches unchanged, changes no visible token."""
    points, network = point_clouds(), encoder(size).train(training)
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[:, 0] = True
    seen = propagate_visibility(levels, visible)
    shown = torch.zeros(points.shape[:2], dtype=torch.bool)
    for row in range(len(points)):
        shown[row, levels[0].members[row][seen[0][row]].flatten()] = True
    assert 0 < shown.sum() < shown.numel() * 0.9
    moved = torch.where(shown[..., None], points, points + 100 * torch.randn_like(points))
    for one, other in zip(network.encode(points, levels, visible), network.encode(moved, levels, visible), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(network.encode(points, levels)[-1], network.encode(moved, levels)[-1])


@pytest.mark.parametrize("size", SIZES)
def test_encoder_output_is_independent_of_the_batch(size):
    points, network = point_clouds(), encoder(size).eval()
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[0, :5], visible[1, 2:4] = True, True  # different numbers of tokens: the second point cloud is padded
    together = network.encode(points, levels, visible)
    for row in range(2):
        alone = points[row : row + 1]
        for one, other in zip(network.encode(alone, network.cut(alone), visible[row : row + 1]), together, strict=True):
            torch.testing.assert_close(one[0], other[row])


def test_encoder_returns_zero_for_masked_tokens():
    points, network = point_clouds(), encoder("three levels")
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[:, 0] = True
    for tokens, seen in zip(
        network.encode(points, levels, visible), propagate_visibility(levels, visible), strict=True
    ):
        assert (tokens[~seen] == 0).all()
        assert (tokens[seen] != 0).any(1).all()


def test_encoder_rejects_a_mask_of_everything():
    points, network = point_clouds(), encoder("one level")
    levels = network.cut(points)
    with pytest.raises(ShapeError, match="lower the mask ratio"):
        network.encode(points, levels, torch.zeros_like(levels[-1].chosen, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": (8, 16)}, "one number for each level"),
        ({**SIZES["three levels"], "num_groups": (8, 16, 32)}, "finest level comes first"),
        ({"heads": 7}, "choose a divisor"),
    ],
)
def test_encoder_rejects_inconsistent_levels(options, message):
    with pytest.raises(ShapeError, match=message):
        PointM2AEEncoder(**options)


def vit(name: str = "vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return create_backbone(f"timm:{name}", img_size=32, depth=2, **options)[0]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_point_vit_blocks_match_timm(name):
    """A wrong number of heads, as in the published port, changes outputs but no shape."""
    network = vit(name).eval()
    point_vit = PointViT(network).eval()
    assert point_vit.heads == network.blocks[0].attn.num_heads
    tokens = torch.randn(2, 7, network.embed_dim)
    prefix = [p.expand(2, -1, -1) for p in (network.cls_token, network.reg_token) if p is not None]
    values = network.norm_pre(torch.cat([*prefix, tokens], 1))
    expected = network.norm(network.blocks(values))[:, network.num_prefix_tokens :]
    torch.testing.assert_close(point_vit.transform(tokens), expected)
    assert not {p.data_ptr() for p in point_vit.parameters()} & {p.data_ptr() for p in network.parameters()}


def test_point_vit_heads_follow_the_order_of_points():
    points, order = point_clouds(), torch.randperm(100)
    classifier = PointCloudClassifier(PointViT(vit(), num_neighbors=4), 3).eval()
    assert classifier(points).shape == (2, 3)
    torch.testing.assert_close(classifier(points), classifier(points[:, order]), atol=1e-4, rtol=1e-4)
    segmenter = PointViTSegmenter(PointViT(vit(), num_neighbors=4), 5).eval()
    logits = segmenter(points)
    assert logits.shape == (2, 100, 5)
    torch.testing.assert_close(segmenter(points[:, order]), logits[:, order], atol=1e-4, rtol=1e-4)


def test_point_vit_uses_the_first_blocks():
    assert len(PointViT(vit(), blocks=1).body.blocks) == 1


def test_point_vit_rejects_other_networks_and_features():
    with pytest.raises(LiftError, match="plain timm vision transformer"):
        PointViT(create_backbone("timm:test_resnet")[0])
    with pytest.raises(ShapeError, match="built for 3"):
        PointViT(vit(), in_channels=3)(point_clouds())


@pytest.mark.parametrize("size", SIZES)
def test_encoder_is_initialised_as_published(size):
    """Truncated normal of 0.02 and zero biases in every linear layer and attention."""
    found = 0
    for name, weight in encoder(size).state_dict().items():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.ndim == 2:  # norms have one axis
            found += 1
            assert abs(float(weight.mean())) < 0.004, name
            assert 0.014 < float(weight.std()) < 0.026, name
    assert found > 8


def test_point_vit_keeps_the_weights_of_the_2d_network():
    torch.manual_seed(0)
    network, _ = create_backbone("timm:vit_tiny_patch16_224", pretrained=False)
    lifted = PointViT(network, blocks=1, num_neighbors=4, pool_ratio=2)
    for name, weight in lifted.body.blocks[0].state_dict().items():
        assert torch.equal(weight, network.blocks[0].state_dict()[name])
    assert not any(part.bias.any() for part in lifted.embed.modules() if isinstance(part, torch.nn.Linear))
