"""Patches of clouds: whatever the order of the points, refused where there are too few, visible from coarse to fine."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.geometry.patches import cut_hierarchy, cut_patches, origin, seen_below
from dimlift.geometry.sampling import gather_points


def clouds(points: int = 60, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(0))


def test_the_order_of_points_plays_no_part():
    points = clouds()
    order = torch.randperm(60)
    one, other = cut_patches(points, 8, 5), cut_patches(points[:, order], 8, 5)
    torch.testing.assert_close(one.centres, other.centres)
    torch.testing.assert_close(gather_points(points, one.members), gather_points(points[:, order], other.members))


def test_a_centre_is_its_own_nearest_member():
    patches = cut_patches(clouds(), 8, 5)
    assert (patches.members[..., 0] == patches.chosen).all()


def test_every_level_knows_which_of_the_points_it_came_from():
    points = clouds()
    levels = cut_hierarchy(points, (30, 12, 4), (6, 5, 4))
    for level in range(3):
        torch.testing.assert_close(gather_points(points, origin(levels, level)), levels[level].centres)


def test_what_a_visible_patch_is_made_of_is_visible_and_nothing_else():
    levels = cut_hierarchy(clouds(), (30, 12, 4), (6, 5, 4))
    coarse = torch.tensor([[True, False, False, True], [False, True, False, False]])
    seen = seen_below(levels, coarse)
    for cloud in range(2):
        middle = set(levels[2].members[cloud][coarse[cloud]].flatten().tolist())
        assert set(seen[1][cloud].nonzero().flatten().tolist()) == middle
        fine = {i for patch in middle for i in levels[1].members[cloud, patch].tolist()}
        assert set(seen[0][cloud].nonzero().flatten().tolist()) == fine


@pytest.mark.parametrize(
    ("points", "told"),
    [
        (torch.full((1, 60, 3), torch.nan), "NaN or infinite"),
        (clouds(5), "fewer and smaller patches"),
        (torch.zeros(4, 2), r"\(batch, points, 3\)"),
    ],
)
def test_clouds_that_cannot_be_cut_are_refused(points, told):
    with pytest.raises(ShapeError, match=told):
        cut_patches(points, 8, 5)
