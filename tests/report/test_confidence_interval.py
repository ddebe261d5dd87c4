"""The crossed interval: complete and incomplete tables, single seeds and cases, and its error rate."""

import numpy as np
import pytest
from scipy import stats

from dimlift.report.confidence_interval import crossed_interval


def table(rng, n, s, case=0.03, seed=0.01, residual=0.03):
    return rng.normal(0, case, (n, 1)) + rng.normal(0, seed, (1, s)) + rng.normal(0, residual, (n, s))


def interval_of(values, keep=None):
    cases, seeds = np.nonzero(np.ones(values.shape, bool) if keep is None else keep)
    return crossed_interval(values[cases, seeds], cases, seeds)


def test_variances_equal_mean_squares_of_complete_table():
    d = table(np.random.default_rng(0), 7, 4)
    n, s = d.shape
    found = interval_of(d)
    residuals = d - d.mean(1, keepdims=True) - d.mean(0, keepdims=True) + d.mean()
    assert found.mean == pytest.approx(d.mean())
    assert found.case_variance == pytest.approx(d.mean(1).var(ddof=1) / n)
    assert found.seed_variance == pytest.approx(d.mean(0).var(ddof=1) / s)
    assert found.residual_variance == pytest.approx((residuals**2).sum() / ((n - 1) * (s - 1)) / (n * s))


@pytest.mark.parametrize("seed_effecty", [False, True])
def test_half_width_uses_quantile_of_each_source(seed_effecty):
    d = table(np.random.default_rng(0), 7, 4)
    if seed_effecty:  # seeds that agree by chance
        d = d - d.mean(0) + 0.01
    found = interval_of(d)
    case_t, seed_t = stats.t.ppf(0.975, 6), stats.t.ppf(0.975, 3)
    sources = case_t**2 * (found.case_variance - found.residual_variance) + seed_t**2 * found.seed_variance
    cases_alone = case_t**2 * found.case_variance
    assert (sources < cases_alone) == seed_effecty
    assert (found.high - found.low) / 2 == pytest.approx(np.sqrt(max(sources, cases_alone)))


def test_p_value_is_level_at_which_interval_reaches_zero():
    d = table(np.random.default_rng(1), 12, 3) + 0.02
    p = interval_of(d).p
    cases, seeds = np.nonzero(np.ones(d.shape))
    touching = crossed_interval(d[cases, seeds], cases, seeds, level=1 - p)
    assert touching.low == pytest.approx(0, abs=1e-6)


def test_interval_is_invariant_to_order_and_scale():
    rng = np.random.default_rng(2)
    d = table(rng, 9, 3) + 0.01
    base, shuffled = interval_of(d), interval_of(d[rng.permutation(9)][:, rng.permutation(3)])
    assert (shuffled.low, shuffled.high, shuffled.p) == pytest.approx((base.low, base.high, base.p))
    turned = interval_of(-100 * d)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-100 * base.high, -100 * base.low, base.p), rel=1e-5)


def test_more_cases_do_not_compensate_for_few_seeds():
    """If only seeds vary, the interval with 1000 cases is the t interval over three seed means."""
    seed_effect = np.array([[0.02, -0.01, 0.005]])
    found = interval_of(np.repeat(seed_effect, 1000, 0) + np.random.default_rng(0).normal(0, 1e-6, (1000, 3)))
    expected = stats.t.ppf(0.975, 2) * seed_effect.std(ddof=1) / np.sqrt(3)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=1e-3)


def test_single_seed_or_case_has_partial_coverage_and_no_p_value():
    rng = np.random.default_rng(3)
    one_seed, one_case, one_value = (
        interval_of(table(rng, 20, 1)),
        interval_of(table(rng, 1, 4)),
        interval_of(table(rng, 1, 1)),
    )
    assert (one_seed.covers, one_case.covers, one_value.covers) == ("cases", "seeds", "nothing")
    assert one_seed.p is one_case.p is one_value.p is None
    assert one_value.low is None


def test_zero_variance_gives_p_value_one():
    assert interval_of(np.ones((5, 3))).p == 1
    assert interval_of(np.zeros((5, 3))).p == 1


def test_incomplete_seed_adds_little_freedom():
    d = table(np.random.default_rng(4), 30, 2, seed=0.02)
    third = np.concatenate([d, np.full((30, 1), d.mean())], 1)
    keep = np.ones((30, 3), bool)
    keep[2:, 2] = False
    two, barely_three = interval_of(d), interval_of(third, keep)
    assert barely_three.n_seeds == 3
    assert barely_three.high - barely_three.low > 0.4 * (two.high - two.low)


@pytest.mark.parametrize("shape", ["complete", "half a seed missing", "disjoint folds"])
@pytest.mark.parametrize("sources", [(0.03, 0.0, 0.03), (0.0, 0.015, 0.02), (0.03, 0.015, 0.015)])
def test_false_verdict_rate_is_at_most_five_percent(shape, sources):
    """400 tables give 5 % with a standard error of 1.1 %; benchmarks/calibration.py uses more."""
    rng = np.random.default_rng(5)
    keep = np.ones((20, 3), bool)
    if shape == "half a seed missing":
        keep[10:, 2] = False
    elif shape == "disjoint folds":
        keep = np.arange(20)[:, None] % 3 == np.arange(3)
    found = [interval_of(table(rng, 20, 3, *sources), keep).p < 0.05 for _ in range(400)]
    assert np.mean(found) <= 0.072


def test_large_effect_is_detected():
    rng = np.random.default_rng(6)
    assert np.mean([interval_of(table(rng, 30, 5) + 0.05).p < 0.05 for _ in range(50)]) > 0.9
