"""Encoders of points: the order of points plays no part, and what is masked never enters."""

import pytest
import torch

from dimlift.backbones.open_network import open_network
from dimlift.errors import CannotLift, ShapeError
from dimlift.geometry.patches import seen_below
from dimlift.models.point_classifier import CloudClassifier
from dimlift.models.point_m2ae_encoder import PointHierarchy
from dimlift.models.point_vit import PointSegmenter, PointViT

SIZES = {
    "one level": {"patches": (12,), "neighbours": (8,), "widths": (24,), "depths": (2,), "heads": 2},
    "three levels": {
        "patches": (32, 16, 8), "neighbours": (8, 4, 3), "widths": (12, 24, 48), "depths": (1, 1, 1), "heads": 2,
    },
    "merging alone below": {
        "patches": (32, 8), "neighbours": (8, 4), "widths": (12, 24), "depths": (0, 2), "heads": 2,
    },
}  # fmt: skip


def clouds(points: int = 100, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(1))


def encoder(size: str) -> PointHierarchy:
    torch.manual_seed(0)
    return PointHierarchy(**SIZES[size])


@pytest.mark.parametrize("size", SIZES)
def test_the_order_of_points_plays_no_part(size):
    points, network = clouds(), encoder(size)
    one, other = network(points), network(points[:, torch.randperm(100)])
    torch.testing.assert_close(one.values, other.values)
    torch.testing.assert_close(one.centres, other.centres)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_masked_points_never_reach_the_encoder(size, training):
    """Points that only masked patches hold go elsewhere, anywhere; the cut stays; no visible token changes."""
    points, network = clouds(), encoder(size).train(training)
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[:, 0] = True
    seen = seen_below(levels, visible)
    shown = torch.zeros(points.shape[:2], dtype=torch.bool)
    for cloud in range(len(points)):
        shown[cloud, levels[0].members[cloud][seen[0][cloud]].flatten()] = True
    assert 0 < shown.sum() < shown.numel() * 0.9
    moved = torch.where(shown[..., None], points, points + 100 * torch.randn_like(points))
    for one, other in zip(network.encode(points, levels, visible), network.encode(moved, levels, visible), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(network.encode(points, levels)[-1], network.encode(moved, levels)[-1])


@pytest.mark.parametrize("size", SIZES)
def test_a_cloud_is_read_the_same_alone_and_in_company(size):
    points, network = clouds(), encoder(size)
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[0, :5], visible[1, 2:4] = True, True  # other numbers of tokens: the smaller cloud is padded
    together = network.encode(points, levels, visible)
    for cloud in range(2):
        (alone,) = (points[cloud : cloud + 1],)
        for one, other in zip(
            network.encode(alone, network.cut(alone), visible[cloud : cloud + 1]), together, strict=True
        ):
            torch.testing.assert_close(one[0], other[cloud])


def test_tokens_that_are_not_visible_are_zero():
    points, network = clouds(), encoder("three levels")
    levels = network.cut(points)
    visible = torch.zeros_like(levels[-1].chosen, dtype=torch.bool)
    visible[:, 0] = True
    for tokens, seen in zip(network.encode(points, levels, visible), seen_below(levels, visible), strict=True):
        assert (tokens[~seen] == 0).all()
        assert (tokens[seen] != 0).any(1).all()


def test_nothing_visible_is_refused():
    points, network = clouds(), encoder("one level")
    levels = network.cut(points)
    with pytest.raises(ShapeError, match="mask less"):
        network.encode(points, levels, torch.zeros_like(levels[-1].chosen, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patches": (8, 16)}, "one number for each level"),
        ({**SIZES["three levels"], "patches": (8, 16, 32)}, "finest level first"),
        ({"heads": 7}, "choose a divisor"),
    ],
)
def test_levels_that_do_not_agree_are_refused(options, told):
    with pytest.raises(ShapeError, match=told):
        PointHierarchy(**options)


def vit(name: str = "vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return open_network(f"timm:{name}", img_size=32, depth=2, **options)[0]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_blocks_of_a_lifted_vit_compute_what_timms_compute(name):
    """The published port had three heads for every width: shapes agree, answers do not."""
    network = vit(name).eval()
    lifted = PointViT(network).eval()
    assert lifted.heads == network.blocks[0].attn.num_heads
    tokens = torch.randn(2, 7, network.embed_dim)
    prefix = [p.expand(2, -1, -1) for p in (network.cls_token, network.reg_token) if p is not None]
    values = network.norm_pre(torch.cat([*prefix, tokens], 1))
    expected = network.norm(network.blocks(values))[:, network.num_prefix_tokens :]
    torch.testing.assert_close(lifted.transform(tokens), expected)
    assert not {p.data_ptr() for p in lifted.parameters()} & {p.data_ptr() for p in network.parameters()}


def test_a_lifted_vit_answers_for_clouds_and_for_points_in_their_order():
    points, order = clouds(), torch.randperm(100)
    classifier = CloudClassifier(PointViT(vit(), neighbours=4), 3).eval()
    assert classifier(points).shape == (2, 3)
    torch.testing.assert_close(classifier(points), classifier(points[:, order]), atol=1e-4, rtol=1e-4)
    segmenter = PointSegmenter(PointViT(vit(), neighbours=4), 5).eval()
    answer = segmenter(points)
    assert answer.shape == (2, 100, 5)
    torch.testing.assert_close(segmenter(points[:, order]), answer[:, order], atol=1e-4, rtol=1e-4)


def test_only_as_many_blocks_as_wanted():
    assert len(PointViT(vit(), blocks=1).body.blocks) == 1


def test_a_network_without_blocks_is_refused():
    with pytest.raises(CannotLift, match="vision transformer of timm's"):
        PointViT(open_network("timm:test_resnet")[0])
    with pytest.raises(ShapeError, match="were promised"):
        PointViT(vit(), in_channels=3)(clouds())
