"""The student foresees what the 2D network sees; the 2D network learns nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.errors import RunError
from dimlift.methods.distillation.slice_features import SliceDistillation
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.settings import BorrowSettings

SIZE = (6, 12, 10)


@pytest.fixture
def method(two_stages):
    torch.manual_seed(0)
    extractor = Extractor(BorrowSettings(enlarge=1.0, planes=("depth", "width")), two_stages)
    student = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.GELU(), nn.Conv3d(16, 6, 3, padding=1))
    return SliceDistillation(student, extractor, 6)


def _batch(method, image):
    maps = method.extractor(image)
    method.fit([maps])
    grid = [-(-n // method.feature_stride) for n in SIZE]
    coarse = torch.cat([F.interpolate(each[None], grid)[0] for each in method.project(maps, SIZE)])[None]
    return VolumeBatch(image[None], torch.full((1, *SIZE), IGNORE), ("a",), coarse)


def test_the_student_learns_and_the_teacher_does_not(method):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch, before = _batch(method, image), method.extractor.digest
    optimiser = torch.optim.Adam([p for group in method.parameter_groups(3e-3) for p in group["params"]], 3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = method.loss(batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert method.extractor.network.frozen.digest() == before
    names = set(method.state_dict())
    assert all(name.startswith(("model.", "projection.")) for name in names)


@pytest.mark.parametrize("cosine", [0.0, 0.5, 1.0])
def test_foreseeing_everything_costs_nothing(method, cosine):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch = _batch(method, image)
    method.cosine = cosine

    class Oracle(nn.Module):
        def forward(self, image):
            return batch.features.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)

    method.model = Oracle()
    assert float(method.loss(batch)) == pytest.approx(0, abs=1e-6)
    shifted = batch._replace(features=batch.features.flip(1))
    assert float(method.loss(shifted)) > 0.1


def test_the_share_of_directions_is_what_was_asked(method):
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(1))
    batch = _batch(method, image)
    foreseen = F.adaptive_avg_pool3d(method(batch.image), batch.features.shape[2:])
    squares = (foreseen - batch.features).square().mean()
    lengths = foreseen.norm(dim=1) * batch.features.norm(dim=1)
    turned = (1 - (foreseen * batch.features).sum(1) / lengths).mean()
    for share in (0.0, 0.25, 1.0):
        method.cosine = share
        torch.testing.assert_close(method.loss(batch), (1 - share) * squares + share * turned)


def test_a_batch_without_targets_is_refused(method):
    with pytest.raises(RunError, match="slice features"):
        method.loss(VolumeBatch(torch.rand(1, 1, *SIZE), torch.full((1, *SIZE), IGNORE), ("a",)))
