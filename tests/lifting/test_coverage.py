"""The laws of coverage and location: every voxel is read, and located, in every family."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError
from dimlift.lifting.certify.coverage import check_coverage
from dimlift.lifting.slice_padding import SlicePadding
from lifting.families import FAMILIES, build

PLAN = DepthPlan(kernel=1)


def laws_of(lifted, size):
    return check_coverage(lifted.eval(), lifted.image_size or lifted.padding.size(size, size))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_voxel_is_read_and_answered_where_it_lies(family):
    lifted = dimlift.lift(build(family, torch.float32), PLAN, certify=False)
    coverage, location = laws_of(lifted, family.size)
    assert coverage.claimed, coverage
    assert coverage.error == 0, coverage
    assert location.holds, location
    assert location.claimed == family.features


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:swin_t", "packaged:efficientnet_lite0"])
def test_other_sources_obey_the_laws(name):
    lifted = dimlift.lift(name, PLAN, features_only=True, certify=False)
    assert all(law.claimed and law.holds for law in laws_of(lifted, 64))


def test_depth_that_tubelets_do_not_fill_is_read():
    plan = DepthPlan(kernel=4, stride="kernel", inflation="average")
    lifted = dimlift.lift("timm:test_vit", plan, features_only=True, certify=False)
    coverage, location = laws_of(lifted, 64)
    assert coverage.error == 0
    assert coverage.detail.startswith("0 of 17")
    assert location.holds


@pytest.mark.parametrize("name", ["test_convnext", "test_vit2"])
def test_unread_rows_break_coverage(name):
    if name == "test_vit2":
        lifted = dimlift.lift(Patches(14), PLAN, certify=False)
    else:
        lifted = dimlift.lift(f"timm:{name}", PLAN, features_only=True, certify=False)
    lifted.padding = SlicePadding()
    coverage, _ = check_coverage(lifted.eval(), (64, 64))
    assert coverage.claimed
    assert not coverage.holds
    assert coverage.error > 0.02


def test_false_stride_breaks_location():
    lifted = dimlift.lift(Patches(14), PLAN, certify=False).eval()
    assert all(law.holds for law in laws_of(lifted, 70))
    lifted.strides = ((1, 16, 16),)
    _, location = laws_of(lifted, 70)
    assert location.claimed
    assert not location.holds


@pytest.mark.parametrize("seed", range(4))
def test_slices_that_mix_and_are_pooled_may_answer_in_the_neighbouring_cell(seed):
    """The windows of such layers overlap along depth, so the law must not depend on the weights."""
    torch.manual_seed(seed)
    plan = DepthPlan(kernel=3, inflation="average", depth_pool=(1, 2, 1, 1))
    location = laws_of(dimlift.lift("timm:test_convnext", plan, features_only=True, certify=False).eval(), 64)[1]
    assert location.claimed
    assert location.holds, location


def test_lift_raises_where_a_law_is_broken(monkeypatch):
    monkeypatch.setattr("dimlift.lifting.context.find_padding", lambda *_: SlicePadding())
    with pytest.raises(LiftError, match=r"the law of coverage does not hold: \d+ of \d+ voxels leave the output"):
        dimlift.lift("timm:test_convnext", PLAN, features_only=True, image_size=None)


def test_network_that_skips_pixels_by_design_is_not_claimed():
    network = nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.Conv2d(8, 8, 3, padding=1))
    coverage, _ = laws_of(dimlift.lift(network, PLAN, certify=False), 64)
    assert not coverage.claimed
    assert "smaller than their strides" in coverage.reason
    assert coverage.error == pytest.approx(0.75, abs=0.02)


def test_certificate_states_both_laws():
    certificate = dimlift.lift("timm:test_convnext", PLAN, features_only=True).certificate
    text = str(certificate)
    assert "coverage: claimed, holds (0 of 3481 voxels leave the output unchanged)" in text
    assert "location: claimed, holds (a dot and the cell that responds most: 0.48 of a stride apart at most" in text
    laws = {claim["law"]: claim for claim in certificate.to_json()["claims"]}
    assert laws["coverage"]["holds"]
    assert laws["coverage"]["error"] == 0
    assert laws["location"]["holds"]
    assert laws["location"]["error"] < laws["location"]["tolerance"] == 0.5
    logits = dimlift.lift("timm:test_convnext", PLAN).certificate
    assert "location: not claimed, the output has no positions (not measured)" in str(logits)


class Patches(nn.Module):
    """Patches and a residual 3 x 3 convolution."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch, self.mix = nn.Conv2d(3, 16, patch, patch), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        patches = self.patch(images)
        return [patches + 0.3 * self.mix(patches)]
