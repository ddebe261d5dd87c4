"""U-Net with frozen features: trained and frozen parameters, channel dropout, and the path of a case."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.batch import VolumeBatch
from dimlift.errors import RunError, ShapeError, UnknownNameError
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.method import FrozenFeatureUNet
from dimlift.methods.frozen_features.sampling import window_features
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.methods.method import Method

SIZE = (6, 10, 12)


@pytest.fixture
def method(two_stages):
    torch.manual_seed(0)
    extractor = FeatureExtractor(
        FeatureExtractionSettings(stages=(0, 1), planes=("depth", "width"), upsample=1.5), two_stages
    )
    return FrozenFeatureUNet(extractor, 1, 2, num_components=8, widths=(4, 8), channel_dropout=0.5)


def _batch(count: int = 2, feature_stride: int = 1) -> VolumeBatch:
    image = torch.randn(count, 1, *SIZE)
    features = torch.randn(count, 8, *(-(-n // feature_stride) for n in SIZE))
    return VolumeBatch(image, (image[:, 0] > 0).long(), ("a",) * count, features)


def test_frozen_feature_unet_from_volume_to_logits(method, tmp_path):
    cache = FeatureCache(tmp_path, method.extractor)
    images = [torch.rand(1, *SIZE) for _ in range(2)]
    method.fit(cache(image) for image in images)
    coarse = method.coarse_features(images[0], cache=cache)
    assert cache.hits == 1
    torch.testing.assert_close(coarse, method.coarse_features(images[0]), rtol=0, atol=0)
    assert all(m.dtype == torch.float32 for m in coarse)
    features = window_features(coarse, SIZE, (1, 2, 3), (4, 6, 8))
    image = images[0][:, 1:5, 2:8, 3:11]
    assert method.eval()(image[None], features[None]).shape == (1, 2, 4, 6, 8)


@pytest.mark.parametrize("fusion", ["input", "levels"])
def test_frozen_feature_unet_trains_the_unet_only(two_stages, fusion):
    torch.manual_seed(0)
    extractor = FeatureExtractor(FeatureExtractionSettings(stages=(0, 1)), two_stages)
    method = FrozenFeatureUNet(extractor, 1, 2, num_components=8, widths=(4, 8), fusion=fusion).train()
    assert isinstance(method, Method)
    assert not any(module.training for module in extractor.backbone.frozen.network.modules())
    before = extractor.digest
    groups = method.param_groups(1e-2)
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in method.parameters()}
    optimizer = torch.optim.AdamW(groups)
    batch, losses = _batch(feature_stride=method.feature_stride), []
    for _ in range(10):
        optimizer.zero_grad()
        value = method.loss(batch)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0]
    assert extractor.backbone.frozen.digest() == before
    assert not any("frozen" in name or "extractor" in name for name in method.state_dict())
    assert "projection.weight0" in method.state_dict()


def test_frozen_feature_unet_drops_feature_channels_in_training(method):
    seen: list[torch.Tensor] = []
    method.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch = _batch(16)
    torch.manual_seed(0)
    method.train()(batch.image, batch.features)
    torch.testing.assert_close(seen[-1][:, :1], batch.image)
    ratio = (seen[-1][:, 1:] / batch.features).flatten(2)
    assert ratio.std(2).max() < 1e-4  # a channel of a patch is kept or dropped as one
    dropped = ratio[:, :, 0] == 0
    assert 0.25 < dropped.float().mean() < 0.75
    torch.testing.assert_close(ratio[:, :, 0][~dropped], torch.full_like(ratio[:, :, 0][~dropped], 2.0))
    method.eval()(batch.image, batch.features)
    torch.testing.assert_close(seen[-1][:, 1:], batch.features)


def test_frozen_feature_unet_uses_features(two_stages):
    """The label depends on the features alone."""
    torch.manual_seed(0)
    method = FrozenFeatureUNet(
        FeatureExtractor(FeatureExtractionSettings(stages=(0, 1)), two_stages),
        1,
        2,
        num_components=8,
        widths=(4, 8),
        channel_dropout=0.0,
    )
    batch = _batch()
    batch = batch._replace(label=(batch.features[:, 3] > 0).long())
    optimizer = torch.optim.AdamW(method.param_groups(2e-2))
    for _ in range(40):
        optimizer.zero_grad()
        method.loss(batch).backward()
        optimizer.step()
    found = method.eval()(batch.image, batch.features).argmax(1)
    assert (found == batch.label).float().mean() > 0.9
    assert F.cross_entropy(method(batch.image, batch.features.flip(1)), batch.label) > 0.5


def test_frozen_feature_unet_rejects_wrong_features(method, two_stages):
    batch = _batch()
    with pytest.raises(RunError, match="the batch has no features"):
        method(batch.image)
    with pytest.raises(ShapeError, match=r"needs features \(2, 8, 6, 10, 12\), got \(2, 5, 6, 10, 12\)"):
        method(batch.image, batch.features[:, :5])
    with pytest.raises(UnknownNameError, match="middle"):
        FrozenFeatureUNet(method.extractor, 1, 2, fusion="middle")
