"""Point patches and their hierarchy."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.geometry.patches import centre_indices, cut_hierarchy, cut_patches, propagate_visibility
from dimlift.geometry.sampling import gather_points


def clouds(points: int = 60, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(0))


def test_cut_patches_ignores_point_order():
    points = clouds()
    order = torch.randperm(60)
    one, other = cut_patches(points, 8, 5), cut_patches(points[:, order], 8, 5)
    torch.testing.assert_close(one.centres, other.centres)
    torch.testing.assert_close(gather_points(points, one.members), gather_points(points[:, order], other.members))


def test_cut_patches_first_member_is_centre():
    patches = cut_patches(clouds(), 8, 5)
    assert (patches.members[..., 0] == patches.chosen).all()


def test_centre_indices_refer_to_points():
    points = clouds()
    levels = cut_hierarchy(points, (30, 12, 4), (6, 5, 4))
    for level in range(3):
        torch.testing.assert_close(gather_points(points, centre_indices(levels, level)), levels[level].centres)


def test_propagate_visibility_selects_members():
    levels = cut_hierarchy(clouds(), (30, 12, 4), (6, 5, 4))
    coarse = torch.tensor([[True, False, False, True], [False, True, False, False]])
    visible = propagate_visibility(levels, coarse)
    for cloud in range(2):
        middle = set(levels[2].members[cloud][coarse[cloud]].flatten().tolist())
        assert set(visible[1][cloud].nonzero().flatten().tolist()) == middle
        fine = {i for patch in middle for i in levels[1].members[cloud, patch].tolist()}
        assert set(visible[0][cloud].nonzero().flatten().tolist()) == fine


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.full((1, 60, 3), torch.nan), "NaN or infinite"),
        (clouds(5), "fewer and smaller patches"),
        (torch.zeros(4, 2), r"\(batch, points, 3\)"),
    ],
)
def test_cut_patches_rejects_invalid_points(points, message):
    with pytest.raises(ShapeError, match=message):
        cut_patches(points, 8, 5)
