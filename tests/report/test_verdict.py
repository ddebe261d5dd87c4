"""Paired differences and verdicts: pairing, direction of the measure, single seeds, many arms."""

import numpy as np
import pytest
from synthetic_study import record

from dimlift.records.record import Score
from dimlift.report.paired_differences import PairedDifferences, collect_scores, paired_differences
from dimlift.report.verdict import compare_arms, holm


def pairs(differences):
    cases, seeds = np.nonzero(np.ones(np.shape(differences), bool))
    return PairedDifferences(np.asarray(differences, float).ravel(), cases, seeds, 0)


def noisy(effect, cases=20, seeds=3, spread=0.01):
    return pairs(effect + np.random.default_rng(0).normal(0, spread, (cases, seeds)))


def test_paired_differences_match_case_seed_and_class():
    one = collect_scores([record("a", 0, [Score("x", "liver", "dice", 0.9), Score("y", "liver", "dice", 0.5)])], "dice")
    other = collect_scores(
        [
            record("b", 0, [Score("y", "liver", "dice", 0.4), Score("x", "liver", "nsd", 0.1)]),
            record("b", 1, [Score("x", "liver", "dice", 0.1)]),
            record("b", 2, [Score("y", "liver", "dice", 0.1)], status="failed"),
        ],
        "dice",
    )
    found = paired_differences(one, other)
    assert found.differences == pytest.approx([0.1])
    assert found.unpaired == 2


def test_class_undefined_in_one_arm_is_excluded_from_both():
    one = collect_scores(
        [record("a", 0, [Score("x", "liver", "dice", 0.9), Score("x", "tumour", "dice", None)])], "dice"
    )
    other = collect_scores(
        [record("b", 0, [Score("x", "liver", "dice", 0.8), Score("x", "tumour", "dice", 0.0)])], "dice"
    )
    found = paired_differences(one, other)
    assert found.differences == pytest.approx([0.1])
    assert found.unpaired == 2


def test_cv_folds_and_patients_are_not_counted_twice():
    def scores_of(arm, value):
        scores = [Score("x", "liver", "dice", value), Score("y", "liver", "dice", value)]
        return collect_scores([record(arm, 0, scores, fold=fold) for fold in range(5)], "dice")

    found = paired_differences(scores_of("a", 0.9), scores_of("b", 0.8), {"x": "patient", "y": "patient"})
    assert len(found.differences) == 2
    assert len(set(found.cases)) == 1
    assert set(found.seeds) == {0}


def test_verdict_follows_direction_of_measure():
    for better in (1, -1):
        found = compare_arms({"up": noisy(0.05), "down": noisy(-0.05), "none": noisy(0.0005)}, better)
        expected = {"up": "helps", "down": "hurts"} if better == 1 else {"up": "hurts", "down": "helps"}
        assert {name: one.verdict for name, one in found.items()} == expected | {"none": "no evidence yet"}
        assert found["none"].reason


def test_single_seed_gives_no_verdict():
    found = compare_arms({"a": noisy(0.5, seeds=1)})["a"]
    assert found.verdict == "no evidence yet"
    assert "one seed" in found.reason
    assert found.estimate.low > 0.4


def test_holm_matches_worked_example():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_more_arms_require_stronger_evidence():
    alone = compare_arms({"a": noisy(0.007, spread=0.012, cases=12)})["a"]
    crowd = compare_arms({"a": noisy(0.007, spread=0.012, cases=12)} | {f"x{i}": noisy(0.0001) for i in range(40)})["a"]
    assert alone.verdict == "helps"
    assert crowd.verdict == "no evidence yet"
    assert crowd.estimate == alone.estimate
    assert crowd.reason == "not beyond chance once 41 arms are counted; alone it would be"
    assert alone.reason == ""


def test_arm_without_pairs_is_omitted():
    assert compare_arms({"a": pairs(np.zeros((0, 0)))}) == {}
