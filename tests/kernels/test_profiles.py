"""What must hold for every profile, and the numbers of each."""

import pytest
import torch

from dimlift.errors import PlanError, UnknownName
from dimlift.kernels.profiles import PROFILES, average, centre, gaussian, shares_of


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_sums_to_one_and_is_symmetric(profile, k):
    shares = profile(k)
    torch.testing.assert_close(shares.sum(), shares.new_ones(()))
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
    with pytest.raises(UnknownName, match="average, centre, gaussian"):
        shares_of("gauss", 3)
    with pytest.raises(PlanError, match="sum to 3"):
        shares_of(torch.ones, 3)
    with pytest.raises(PlanError, match="must give 3 numbers"):
        shares_of(lambda k: torch.ones(1), 3)
    with pytest.raises(PlanError, match="sigma > 0"):
        gaussian(3, sigma=0)
