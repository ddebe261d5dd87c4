"""The correction for skewness: laws of the transformation, its effect on the interval, and its error rate."""

import numpy as np
import pytest

from dimlift.report.confidence_interval import crossed_interval, half_width
from dimlift.report.skewness import case_skewness, remove_skewness, restore_skewness


def interval_of(values):
    cases, seeds = np.nonzero(np.ones(values.shape, bool))
    return crossed_interval(values.ravel(), cases, seeds)


def with_failures(rng, share, cases, seeds, loss=0.5):
    """Differences with mean zero: a share of the cases is worse by `loss`, the others are a little better."""
    effect = np.where(rng.random((cases, 1)) < share, -loss, loss * share / (1 - share))
    return effect + rng.normal(0, 0.005, (1, seeds)) + rng.normal(0, 0.02, (cases, seeds))


@pytest.mark.parametrize("skewness", [-0.9, -0.1, 0.0, 0.3])
def test_transformation_is_monotone_and_invertible(skewness):
    statistics = np.linspace(-8, 8, 41)
    transformed = [remove_skewness(t, skewness) for t in statistics]
    assert all(np.diff(transformed) > 0)
    assert [restore_skewness(t, skewness) for t in transformed] == pytest.approx(statistics, abs=1e-6)


def test_skewness_of_failures_is_negative_and_of_symmetric_cases_zero():
    assert case_skewness(np.array([-0.9] + [0.1] * 9)) < -0.5
    assert case_skewness(np.array([0.9] + [-0.1] * 9)) > 0.5
    assert case_skewness(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])) == 0
    assert case_skewness(np.array([-0.5, 0.5])) == 0


def test_transformed_mean_of_skewed_cases_is_closer_to_nominal_level():
    """Lower tail of the t statistic of exponential cases: far above 2.5 % before, near it afterwards."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(4000, 40)) - 1
    contributions = (values - values.mean(1, keepdims=True)) / 40
    statistics = values.mean(1) / (values.std(1, ddof=1) / np.sqrt(40))
    corrected = [remove_skewness(t, case_skewness(c)) for t, c in zip(statistics, contributions, strict=True)]
    plain, transformed = np.mean(statistics < -2.02), np.mean(np.array(corrected) < -2.02)
    assert plain > 0.045
    assert abs(transformed - 0.025) < 0.6 * abs(plain - 0.025)


def test_interval_only_grows_and_agrees_with_p_value():
    rng = np.random.default_rng(1)
    for table in [with_failures(rng, 0.2, 20, 3) + 0.05 for _ in range(30)]:
        found = interval_of(table)
        half = half_width(found, 0.05)
        assert found.low <= found.mean - half + 1e-12
        assert found.high >= found.mean + half - 1e-12
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_one_seen_failure_lengthens_interval_on_its_side():
    table = np.random.default_rng(2).normal(0.05, 0.01, (20, 3))
    table[0] = -0.5
    found = interval_of(table)
    assert found.mean - found.low > 1.3 * half_width(found, 0.05)
    assert found.high - found.mean == pytest.approx(half_width(found, 0.05))


@pytest.mark.parametrize(("share", "cases", "seeds"), [(0.2, 20, 3), (0.1, 50, 5)])
def test_failures_that_samples_contain_give_at_most_five_percent_false_verdicts(share, cases, seeds):
    """Without the correction 8 and 10 %; benchmarks/calibration.py measures more regimes."""
    rng = np.random.default_rng(3)
    found = [interval_of(with_failures(rng, share, cases, seeds)) for _ in range(700)]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.05
    assert np.mean([abs(one.mean) > half_width(one, 0.05) for one in found]) > 0.06


def test_correction_costs_little_power_with_normal_cases():
    rng = np.random.default_rng(4)
    tables = rng.normal(0.02, 0.03, (500, 20, 1)) + rng.normal(0, 0.02, (500, 20, 3))
    found = [interval_of(table) for table in tables]
    plain = np.mean([one.mean > half_width(one, 0.05) for one in found])
    assert 0.4 < plain < 0.9
    assert np.mean([one.p < 0.05 for one in found]) > plain - 0.04
