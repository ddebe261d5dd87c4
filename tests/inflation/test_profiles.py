"""What must hold for every profile, and the numbers of each."""

import pytest
import torch

from dimlift.errors import PlanError, UnknownName
from dimlift.inflation.profiles import (
    PROFILES,
    average,
    box3,
    centre,
    gaussian,
    kienzle_1g_as_published,
    shares_of,
)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_sums_to_one_and_is_symmetric_unless_published_otherwise(profile, k):
    shares = profile(k)
    torch.testing.assert_close(shares.sum(), shares.new_ones(()))
    if profile is not kienzle_1g_as_published:
        torch.testing.assert_close(shares, shares.flip(0))
    assert (shares >= 0).all()


def test_centre_splits_over_the_two_middle_slices_of_an_even_kernel():
    assert centre(4).tolist() == [0, 0.5, 0.5, 0]
    assert centre(5).tolist() == [0, 0, 1, 0, 0]


def test_gaussian_has_the_width_the_authors_meant():
    expected = torch.tensor([0.0002, 0.0152, 0.2187, 0.5319, 0.2187, 0.0152, 0.0002], dtype=torch.float64)
    torch.testing.assert_close(gaussian(7), expected, atol=6e-5, rtol=0)
    expected = torch.tensor([0.0003, 0.4997, 0.4997, 0.0003], dtype=torch.float64)
    torch.testing.assert_close(gaussian(4), expected, atol=2e-4, rtol=0)


def test_a_very_narrow_gaussian_is_the_centre_and_a_very_wide_one_the_average():
    torch.testing.assert_close(gaussian(5, sigma=1e-3), centre(5))
    torch.testing.assert_close(gaussian(5, sigma=1e4), average(5))


def test_profiles_that_are_none_are_refused():
    with pytest.raises(UnknownName, match="average, box3, centre, gaussian, gaussian:SIGMA"):
        shares_of("gauss", 3)
    with pytest.raises(PlanError, match="sum to 3"):
        shares_of(torch.ones, 3)
    with pytest.raises(PlanError, match="must give 3 numbers"):
        shares_of(lambda k: torch.ones(1), 3)
    with pytest.raises(PlanError, match="sigma > 0"):
        gaussian(3, sigma=0)


def test_the_published_1g_is_what_its_code_makes_of_it():
    """Numbers from running the published loop; and its closed form."""
    ran = {
        7: [0.2373, 0.0068, 0.1003, 0.3444, 0.2832, 0.0278, 0.0003],
        4: [0.3879, 0.0525, 0.4404, 0.1192],
        3: [0.4998, 0.4998, 0.0003],
        2: [0.0, 1.0],
    }
    for k, numbers in ran.items():
        wanted = torch.tensor(numbers, dtype=torch.float64)
        torch.testing.assert_close(kienzle_1g_as_published(k), wanted, atol=6e-5, rtol=0)
    bell = torch.exp(-((torch.arange(7, dtype=torch.float64) - 3) ** 2) / (2 * 0.75**2))
    closed = [(1 if d == 0 else bell[d]) * (1 / (1 + bell[max(d, 1) :])).prod() for d in range(7)]
    torch.testing.assert_close(kienzle_1g_as_published(7), torch.stack(closed))


def test_a_box_is_three_slices_wide_around_the_middle():
    assert box3(5).tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0])
    assert box3(4).tolist() == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 6])
    assert box3(2).tolist() == pytest.approx([0.5, 0.5])


def test_a_gaussian_by_name_has_the_sigma_it_says():
    torch.testing.assert_close(shares_of("gaussian:0.75", 7), gaussian(7))
    torch.testing.assert_close(shares_of("gaussian:2", 5), gaussian(5, 2.0))
