"""The crossed interval: classical where the table is full, honest where it is not, never bold without grounds."""

import numpy as np
import pytest
from scipy import stats

from dimlift.report.mixed_effects import estimate


def table(rng, n, s, case=0.03, seed=0.01, rest=0.03):
    return rng.normal(0, case, (n, 1)) + rng.normal(0, seed, (1, s)) + rng.normal(0, rest, (n, s))


def of_table(values, keep=None):
    cases, seeds = np.nonzero(np.ones(values.shape, bool) if keep is None else keep)
    return estimate(values[cases, seeds], cases, seeds)


def test_variances_are_the_mean_squares_of_a_full_table():
    d = table(np.random.default_rng(0), 7, 4)
    n, s = d.shape
    found = of_table(d)
    rest = d - d.mean(1, keepdims=True) - d.mean(0, keepdims=True) + d.mean()
    assert found.mean == pytest.approx(d.mean())
    assert found.case_variance == pytest.approx(d.mean(1).var(ddof=1) / n)
    assert found.seed_variance == pytest.approx(d.mean(0).var(ddof=1) / s)
    assert found.rest_variance == pytest.approx((rest**2).sum() / ((n - 1) * (s - 1)) / (n * s))


@pytest.mark.parametrize("lucky", [False, True])
def test_each_source_gets_its_own_quantile_and_the_interval_is_never_shorter_than_over_cases_alone(lucky):
    d = table(np.random.default_rng(0), 7, 4)
    if lucky:  # seeds that agree by luck
        d = d - d.mean(0) + 0.01
    found = of_table(d)
    case_t, seed_t = stats.t.ppf(0.975, 6), stats.t.ppf(0.975, 3)
    sources = case_t**2 * (found.case_variance - found.rest_variance) + seed_t**2 * found.seed_variance
    cases_alone = case_t**2 * found.case_variance
    assert (sources < cases_alone) == lucky
    assert (found.high - found.low) / 2 == pytest.approx(np.sqrt(max(sources, cases_alone)))


def test_p_is_the_level_at_which_the_interval_touches_zero():
    d = table(np.random.default_rng(1), 12, 3) + 0.02
    p = of_table(d).p
    cases, seeds = np.nonzero(np.ones(d.shape))
    touching = estimate(d[cases, seeds], cases, seeds, level=1 - p)
    assert touching.low == pytest.approx(0, abs=1e-6)


def test_names_order_sign_and_unit_do_not_matter():
    rng = np.random.default_rng(2)
    d = table(rng, 9, 3) + 0.01
    base, shuffled = of_table(d), of_table(d[rng.permutation(9)][:, rng.permutation(3)])
    assert (shuffled.low, shuffled.high, shuffled.p) == pytest.approx((base.low, base.high, base.p))
    turned = of_table(-100 * d)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-100 * base.high, -100 * base.low, base.p), rel=1e-5)


def test_more_cases_do_not_make_up_for_few_seeds():
    """Only seeds vary: a thousand cases leave the t interval over three seed means."""
    luck = np.array([[0.02, -0.01, 0.005]])
    found = of_table(np.repeat(luck, 1000, 0) + np.random.default_rng(0).normal(0, 1e-6, (1000, 3)))
    expected = stats.t.ppf(0.975, 2) * luck.std(ddof=1) / np.sqrt(3)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=1e-3)


def test_one_seed_or_one_case_says_what_its_interval_covers_and_has_no_p():
    rng = np.random.default_rng(3)
    one_seed, one_case, one_cell = of_table(table(rng, 20, 1)), of_table(table(rng, 1, 4)), of_table(table(rng, 1, 1))
    assert (one_seed.covers, one_case.covers, one_cell.covers) == ("cases", "seeds", "nothing")
    assert one_seed.p is one_case.p is one_cell.p is None
    assert one_cell.low is None


def test_no_spread_is_no_ground_for_a_claim():
    assert of_table(np.ones((5, 3))).p == 1
    assert of_table(np.zeros((5, 3))).p == 1


def test_a_seed_of_which_two_cases_finished_lends_no_whole_degree_of_freedom():
    d = table(np.random.default_rng(4), 30, 2, seed=0.02)
    third = np.concatenate([d, np.full((30, 1), d.mean())], 1)
    keep = np.ones((30, 3), bool)
    keep[2:, 2] = False
    two, barely_three = of_table(d), of_table(third, keep)
    assert barely_three.n_seeds == 3
    assert barely_three.high - barely_three.low > 0.4 * (two.high - two.low)


@pytest.mark.parametrize("shape", ["full", "half a seed missing", "disjoint folds"])
@pytest.mark.parametrize("sources", [(0.03, 0.0, 0.03), (0.0, 0.015, 0.02), (0.03, 0.015, 0.015)])
def test_two_equal_arms_are_told_apart_in_at_most_five_percent(shape, sources):
    """The full proof is benchmarks/calibration.py; 400 tables give 5 % within two standard errors of 1.1."""
    rng = np.random.default_rng(5)
    keep = np.ones((20, 3), bool)
    if shape == "half a seed missing":
        keep[10:, 2] = False
    elif shape == "disjoint folds":
        keep = np.arange(20)[:, None] % 3 == np.arange(3)
    found = [of_table(table(rng, 20, 3, *sources), keep).p < 0.05 for _ in range(400)]
    assert np.mean(found) <= 0.072


def test_a_clear_effect_is_seen():
    rng = np.random.default_rng(6)
    assert np.mean([of_table(table(rng, 30, 5) + 0.05).p < 0.05 for _ in range(50)]) > 0.9
