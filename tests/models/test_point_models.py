"""Answers for points and clouds: in the order of the points, of their geometry, and from pretrained weights."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.models.point_classifier import CloudClassifier
from dimlift.models.point_m2ae_encoder import PointHierarchy
from dimlift.models.point_segmenter import CloudSegmenter
from dimlift.models.point_sparse_unet import point_unet
from dimlift.models.sparse_unet_heads import cloud_unet


def hierarchy(extra=0):
    return PointHierarchy((16, 8), (6, 4), (12, 24), (1, 1), 2, extra)


MODELS = {
    "tokens, of points": lambda extra: CloudSegmenter(hierarchy(extra), 3),
    "tokens, of clouds": lambda extra: CloudClassifier(hierarchy(extra), 3),
    "voxels, of points": lambda extra: cloud_unet(extra, 3, 18, 0.25, 0.4),
    "voxels, of clouds": lambda extra: cloud_unet(extra, 3, 18, 0.25, 0.4, of_points=False),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param](2).eval()


def test_answers_follow_their_points(model):
    points, features = torch.randn(2, 40, 3), torch.randn(2, 40, 2)
    order = torch.randperm(40)
    with torch.no_grad():
        answer, turned = model(points, features), model(points[:, order], features[:, order])
    expected = answer[:, order] if answer.ndim == 3 else answer
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)
    assert answer.shape[-1] == 3


def test_features_and_geometry_are_both_seen(model):
    points, features = torch.randn(2, 40, 3), torch.randn(2, 40, 2)
    with torch.no_grad():
        answer = model(points, features)
        assert not torch.allclose(answer, model(points, features + 1), atol=1e-4)
        assert not torch.allclose(answer, model(points * torch.tensor([1.0, 2.0, 1.0]), features), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_coordinates_alone_are_enough(name):
    torch.manual_seed(0)
    model = MODELS[name](0).eval()
    points = torch.randn(2, 40, 3)
    with torch.no_grad():
        assert not torch.allclose(model(points), model(points * torch.tensor([1.0, 3.0, 1.0])), atol=1e-5)


def test_features_nobody_promised_are_refused():
    with pytest.raises(ShapeError, match="2 numbers beside the coordinates of a point, 0 were promised"):
        hierarchy()(torch.randn(1, 40, 3), torch.randn(1, 40, 2))


def test_what_ppkt_learnt_goes_into_the_network_by_its_names():
    pretrained, fresh = point_unet(3, None, 18, 0.25, 0.1).state_dict(), cloud_unet(0, 4, 18, 0.25, 0.1).state_dict()
    assert {name: value.shape for name, value in pretrained.items()}.items() <= {
        name: value.shape for name, value in fresh.items()
    }.items()
    assert set(fresh) - set(pretrained) == {"head.weight", "head.bias"}
