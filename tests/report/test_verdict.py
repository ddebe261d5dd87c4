"""Pairing and verdicts: the same case with itself, the sign of better, one seed, many arms."""

import numpy as np
import pytest
from synthetic_study import record

from dimlift.records.record import Score
from dimlift.report.paired_differences import Pairs, pair, scores_of
from dimlift.report.verdict import compare, holm


def pairs(differences):
    cases, seeds = np.nonzero(np.ones(np.shape(differences), bool))
    return Pairs(np.asarray(differences, float).ravel(), cases, seeds, 0)


def noisy(effect, cases=20, seeds=3, spread=0.01):
    return pairs(effect + np.random.default_rng(0).normal(0, spread, (cases, seeds)))


def test_scores_meet_their_own_partner_only():
    one = scores_of([record("a", 0, [Score("x", "liver", "dice", 0.9), Score("y", "liver", "dice", 0.5)])], "dice")
    other = scores_of(
        [
            record("b", 0, [Score("y", "liver", "dice", 0.4), Score("x", "liver", "nsd", 0.1)]),
            record("b", 1, [Score("x", "liver", "dice", 0.1)]),
            record("b", 2, [Score("y", "liver", "dice", 0.1)], status="failed"),
        ],
        "dice",
    )
    found = pair(one, other)
    assert found.differences == pytest.approx([0.1])
    assert found.unpaired == 2


def test_a_class_undefined_in_one_arm_is_left_out_for_both():
    one = scores_of([record("a", 0, [Score("x", "liver", "dice", 0.9), Score("x", "tumour", "dice", None)])], "dice")
    other = scores_of([record("b", 0, [Score("x", "liver", "dice", 0.8), Score("x", "tumour", "dice", 0.0)])], "dice")
    found = pair(one, other)
    assert found.differences == pytest.approx([0.1])
    assert found.unpaired == 2


def test_folds_of_one_seed_are_not_new_seeds_and_patients_not_new_cases():
    def cells(arm, value):
        scores = [Score("x", "liver", "dice", value), Score("y", "liver", "dice", value)]
        return scores_of([record(arm, 0, scores, fold=fold) for fold in range(5)], "dice")

    found = pair(cells("a", 0.9), cells("b", 0.8), {"x": "patient", "y": "patient"})
    assert len(found.differences) == 2
    assert len(set(found.cases)) == 1
    assert set(found.seeds) == {0}


def test_helps_and_hurts_follow_the_direction_of_the_measure():
    for better in (1, -1):
        found = compare({"up": noisy(0.05), "down": noisy(-0.05), "none": noisy(0.0005)}, better)
        expected = {"up": "helps", "down": "hurts"} if better == 1 else {"up": "hurts", "down": "helps"}
        assert {name: one.verdict for name, one in found.items()} == expected | {"none": "no evidence yet"}
        assert found["none"].why


def test_one_seed_is_never_evidence():
    found = compare({"a": noisy(0.5, seeds=1)})["a"]
    assert found.verdict == "no evidence yet"
    assert "one seed" in found.why
    assert found.estimate.low > 0.4


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_more_arms_the_stronger_the_evidence_must_be():
    alone = compare({"a": noisy(0.007, spread=0.012, cases=12)})["a"]
    crowd = compare({"a": noisy(0.007, spread=0.012, cases=12)} | {f"x{i}": noisy(0.0001) for i in range(40)})["a"]
    assert alone.verdict == "helps"
    assert crowd.verdict == "no evidence yet"
    assert crowd.estimate == alone.estimate
    assert "how many arms" in crowd.why


def test_an_arm_without_pairs_is_left_out():
    assert compare({"a": pairs(np.zeros((0, 0)))}) == {}
