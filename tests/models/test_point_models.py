"""Classification and segmentation networks for point clouds."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.models.point_classifier import PointCloudClassifier
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder
from dimlift.models.point_segmenter import PointCloudSegmenter
from dimlift.models.point_sparse_unet import point_sparse_unet
from dimlift.models.sparse_unet_heads import point_cloud_unet


def encoder(in_channels=0):
    return PointM2AEEncoder((16, 8), (6, 4), (12, 24), (1, 1), 2, in_channels)


MODELS = {
    "token segmenter": lambda in_channels: PointCloudSegmenter(encoder(in_channels), 3),
    "token classifier": lambda in_channels: PointCloudClassifier(encoder(in_channels), 3),
    "voxel segmenter": lambda in_channels: point_cloud_unet(in_channels, 3, 18, 0.25, 0.4),
    "voxel classifier": lambda in_channels: point_cloud_unet(in_channels, 3, 18, 0.25, 0.4, per_point=False),
}


def with_batch_statistics(model, in_channels):
    """Estimate the running statistics of batch norm, which an untrained network lacks."""
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(2, 40, 3), torch.randn(2, 40, in_channels) if in_channels else None)
    return model.eval()


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return with_batch_statistics(MODELS[request.param](2), 2)


def test_point_model_is_equivariant_to_the_order_of_points(model):
    points, features = torch.randn(2, 40, 3), torch.randn(2, 40, 2)
    order = torch.randperm(40)
    with torch.no_grad():
        logits, permuted = model(points, features), model(points[:, order], features[:, order])
    expected = logits[:, order] if logits.ndim == 3 else logits
    torch.testing.assert_close(permuted, expected, rtol=1e-4, atol=1e-5)
    assert logits.shape[-1] == 3


def test_point_model_uses_features_and_coordinates(model):
    points, features = torch.randn(2, 40, 3), torch.randn(2, 40, 2)
    with torch.no_grad():
        logits = model(points, features)
        assert not torch.allclose(logits, model(points, features + 1), atol=1e-4)
        assert not torch.allclose(logits, model(points * torch.tensor([1.0, 2.0, 1.0]), features), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_point_model_works_without_features(name):
    torch.manual_seed(0)
    model = with_batch_statistics(MODELS[name](0), 0)
    points = torch.randn(2, 40, 3)
    with torch.no_grad():
        assert not torch.allclose(model(points), model(points * torch.tensor([1.0, 3.0, 1.0])), atol=1e-5)


def test_point_model_rejects_unexpected_features():
    with pytest.raises(ShapeError, match=r"2 feature channels .* built for 0"):
        encoder()(torch.randn(1, 40, 3), torch.randn(1, 40, 2))


def test_point_cloud_unet_shares_weight_names_with_the_pretrained_network():
    pretrained = point_sparse_unet(3, None, 18, 0.25, 0.1).state_dict()
    headed = point_cloud_unet(0, 4, 18, 0.25, 0.1).state_dict()
    assert {name: value.shape for name, value in pretrained.items()}.items() <= {
        name: value.shape for name, value in headed.items()
    }.items()
    assert set(headed) - set(pretrained) == {"head.weight", "head.bias"}
