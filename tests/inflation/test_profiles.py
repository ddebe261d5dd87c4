"""Depth profiles: properties of every registered profile, and reference values of each."""

import math

import pytest
import torch

from dimlift.errors import PlanError, UnknownNameError
from dimlift.inflation.profiles import (
    PROFILES,
    average,
    box3,
    centre,
    gaussian,
    kienzle_1g_as_published,
    profile_weights,
)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profile_sums_to_one_and_is_symmetric(profile, k):
    weights = profile(k)
    assert len(weights) == k
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    if profile is not kienzle_1g_as_published:
        assert weights == pytest.approx(weights[::-1])


def test_centre_splits_over_two_middle_slices_of_even_kernel():
    assert centre(4) == [0, 0.5, 0.5, 0]
    assert centre(5) == [0, 0, 1, 0, 0]


def test_gaussian_matches_reference_values():
    assert gaussian(7) == pytest.approx([0.0002, 0.0152, 0.2187, 0.5319, 0.2187, 0.0152, 0.0002], abs=6e-5)
    assert gaussian(4) == pytest.approx([0.0003, 0.4997, 0.4997, 0.0003], abs=2e-4)


def test_gaussian_limits_are_centre_and_average():
    assert gaussian(5, sigma=1e-3) == pytest.approx(centre(5))
    assert gaussian(5, sigma=1e4) == pytest.approx(average(5))


def test_profile_weights_rejects_invalid_profiles():
    with pytest.raises(UnknownNameError, match="average, box3, centre, gaussian, gaussian:SIGMA"):
        profile_weights("gauss", 3)
    with pytest.raises(PlanError, match="sum to 3"):
        profile_weights(torch.ones, 3)
    with pytest.raises(PlanError, match="returned 1 numbers for 3 slices; it must return 3"):
        profile_weights(lambda k: torch.ones(1), 3)
    for function in (lambda k: 1.0, lambda k: torch.ones(k, k), lambda k: ["a"] * k):
        with pytest.raises(PlanError, match="must return 3 numbers"):
            profile_weights(function, 3)
    with pytest.raises(PlanError, match="sigma > 0"):
        gaussian(3, sigma=0)


def test_profile_weights_accepts_lists_and_tensors():
    assert profile_weights(lambda k: torch.full((k,), 1 / k), 4) == profile_weights(lambda k: [1 / k] * k, 4)


def test_kienzle_1g_as_published_matches_published_code():
    """Values from running the published loop, and its closed form."""
    reference = {
        7: [0.2373, 0.0068, 0.1003, 0.3444, 0.2832, 0.0278, 0.0003],
        4: [0.3879, 0.0525, 0.4404, 0.1192],
        3: [0.4998, 0.4998, 0.0003],
        2: [0.0, 1.0],
    }
    for k, weights in reference.items():
        assert kienzle_1g_as_published(k) == pytest.approx(weights, abs=6e-5)
    bell = [math.exp(-((d - 3) ** 2) / (2 * 0.75**2)) for d in range(7)]
    closed = [(bell[d] if d else 1) * math.prod(1 / (1 + b) for b in bell[max(d, 1) :]) for d in range(7)]
    assert kienzle_1g_as_published(7) == pytest.approx(closed)


def test_box3_is_three_slices_wide_around_the_middle():
    assert box3(5) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0])
    assert box3(4) == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 6])
    assert box3(2) == pytest.approx([0.5, 0.5])


def test_gaussian_by_name_has_the_given_sigma():
    assert profile_weights("gaussian:0.75", 7) == gaussian(7)
    assert profile_weights("gaussian:2", 5) == gaussian(5, 2.0)
