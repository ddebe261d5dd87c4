"""Slice distillation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.errors import RunError
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.methods.slice_distillation.method import SliceDistillation

SIZE = (6, 12, 10)


@pytest.fixture
def method(two_stages):
    torch.manual_seed(0)
    extractor = FeatureExtractor(FeatureExtractionSettings(upsample=1.0, planes=("depth", "width")), two_stages)
    student = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.GELU(), nn.Conv3d(16, 6, 3, padding=1))
    return SliceDistillation(student, extractor, 6)


def _batch(method, image):
    maps = method.extractor(image)
    method.fit([maps])
    grid = [-(-n // method.feature_stride) for n in SIZE]
    coarse = torch.cat([F.interpolate(each[None], grid)[0] for each in method.project(maps, SIZE)])[None]
    return VolumeBatch(image[None], torch.full((1, *SIZE), IGNORE), ("a",), coarse)


def test_slice_distillation_trains_the_student_alone(method):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch, before = _batch(method, image), method.extractor.digest
    optimizer = torch.optim.Adam([p for group in method.param_groups(3e-3) for p in group["params"]], 3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = method.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert method.extractor.backbone.frozen.digest() == before
    names = set(method.state_dict())
    assert all(name.startswith(("model.", "projection.")) for name in names)


@pytest.mark.parametrize("cosine_weight", [0.0, 0.5, 1.0])
def test_slice_distillation_loss_vanishes_for_perfect_predictions(method, cosine_weight):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch = _batch(method, image)
    method.cosine_weight = cosine_weight

    class Oracle(nn.Module):
        def forward(self, image):
            return batch.features.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)

    method.model = Oracle()
    assert float(method.loss(batch)) == pytest.approx(0, abs=1e-6)
    shifted = batch._replace(features=batch.features.flip(1))
    assert float(method.loss(shifted)) > 0.1


def test_slice_distillation_loss_weights_the_cosine_term(method):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch = _batch(method, image)
    predicted = F.adaptive_avg_pool3d(method(batch.image), batch.features.shape[2:])
    squares = (predicted - batch.features).square().mean()
    lengths = predicted.norm(dim=1) * batch.features.norm(dim=1)
    cosine = (1 - (predicted * batch.features).sum(1) / lengths).mean()
    for weight in (0.0, 0.25, 1.0):
        method.cosine_weight = weight
        torch.testing.assert_close(method.loss(batch), (1 - weight) * squares + weight * cosine)


def test_slice_distillation_rejects_a_batch_without_features(method):
    with pytest.raises(RunError, match="slice features"):
        method.loss(VolumeBatch(torch.rand(1, 1, *SIZE), torch.full((1, *SIZE), IGNORE), ("a",)))
