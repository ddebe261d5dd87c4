"""What a verdict rests on: a single case, failures that the sample can miss, and input that supports no verdict."""

import numpy as np
import pytest
from synthetic_study import record, write_study

from dimlift.records.record import Score
from dimlift.report.confidence_interval import unseen_share
from dimlift.report.duplicate_cases import duplicate_cases, merge_groups
from dimlift.report.page import write_report
from dimlift.report.paired_differences import PairedDifferences, collect_scores, paired_differences
from dimlift.report.robustness import rests_on, tolerated_failure
from dimlift.report.summary import study_rules, summarise
from dimlift.report.verdict import VerdictRules, compare_arms


def pairs(table, **changes):
    cases, seeds = np.nonzero(np.ones(np.shape(table), bool))
    names = tuple(f"scan_{i}" for i in range(len(table)))
    return PairedDifferences(np.asarray(table, float).ravel(), cases, seeds, 0, names, **changes)


def only(found):
    (comparison,) = found.values()
    return comparison


def write_scores(folder, tables, **changes):
    """Write a study whose arms have the given scores (cases, seeds); the first arm is the reference."""
    write_study(folder, names=tuple(tables), volumes=False, finished=0, notes=[], **changes)
    for arm, table in tables.items():
        for seed in range(table.shape[1]):
            scores = [Score(f"scan_{i}", "organ", "dice", float(value)) for i, value in enumerate(table[:, seed])]
            record(arm, seed, scores, run_id=f"{arm}-{seed}").save(folder / "records")
    return folder


def borderline():
    """A table whose verdict no longer holds without one of its cases."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        table = rng.normal(0.012, 0.02, (8, 1)) + rng.normal(0, 0.01, (8, 3))
        weak, decisive = rests_on(pairs(table), (0.9, 0.95))
        found = only(compare_arms({"a": pairs(table)}))
        if found.estimate.p < 0.05:
            yield table, weak, decisive, found


def test_verdict_names_the_case_it_rests_on():
    kinds = set()
    for _, weak, decisive, found in borderline():
        kinds.add((bool(weak), bool(decisive)))
        assert found.decisive == (weak or decisive)
        assert (found.verdict == "no evidence yet") == bool(weak)
        assert found.reason == (f"rests on {weak} alone" if weak else "")
    assert kinds == {(False, False), (False, True), (True, True)}


def test_leaving_out_the_named_case_gives_an_interval_with_zero():
    table, decisive = next((table, decisive) for table, weak, decisive, _ in borderline() if decisive and not weak)
    kept = np.delete(table, int(decisive.removeprefix("case scan_")), 0)
    assert only(compare_arms({"a": pairs(kept)})).estimate.low <= 0


def test_page_and_table_state_the_decisive_case(tmp_path):
    table, decisive = next((table, decisive) for table, weak, decisive, _ in borderline() if decisive and not weak)
    base = 0.5 + 0.01 * np.arange(8)[:, None] + np.zeros((8, 3))
    page = write_report(write_scores(tmp_path, {"unet": base, "lifted": base + table}))
    assert f"this verdict rests on {decisive}" in page.read_text(encoding="utf-8")
    assert decisive in page.with_suffix(".csv").read_text(encoding="utf-8")


def test_tolerated_failure_makes_the_true_difference_zero():
    for count in (3, 20, 200):
        share = unseen_share(count)
        assert (1 - share) ** count == pytest.approx(0.05)
        assert (1 - share) * 0.02 - share * tolerated_failure(-0.02, count) == pytest.approx(0)


def test_unseen_failures_can_be_allowed_for():
    table = np.random.default_rng(0).normal(0.026, 0.012, (20, 5))
    assert only(compare_arms({"a": pairs(table)})).verdict == "helps"
    strict = only(compare_arms({"a": pairs(table)}, rules=VerdictRules(unseen_failure=0.5)))
    assert strict.verdict == "no evidence yet"
    assert "cases that the sample can have missed" in strict.reason
    assert only(compare_arms({"a": pairs(table + 0.1)}, rules=VerdictRules(unseen_failure=0.5))).verdict == "helps"
    collapse = only(compare_arms({"a": pairs(table)}, rules=VerdictRules(unseen_collapse=0.1)))
    assert "trainings" in collapse.reason


def test_page_states_failures_that_the_sample_can_miss(tmp_path):
    base = np.random.default_rng(0).uniform(0.5, 0.7, (20, 3))
    table = np.random.default_rng(1).normal(0.05, 0.01, (20, 3))
    page = write_report(write_scores(tmp_path, {"unet": base, "lifted": base + table})).read_text(encoding="utf-8")
    assert "20 cases can miss those of up to 14% of cases, 3 seeds a collapse of up to 63% of trainings" in page
    strict = summarise(tmp_path, study_rules(tmp_path, unseen_failure=0.5))
    assert {row.comparison.verdict for row in strict.rows if row.comparison} == {"no evidence yet"}


def test_difference_within_margin_is_stated_beside_no_evidence():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 0.004, (20, 1)) + rng.normal(0, 0.002, (20, 3))
    found = only(compare_arms({"a": pairs(table)}, rules=VerdictRules(margin=0.01)))
    assert (found.verdict, found.margin) == ("no evidence yet", 0.01)
    assert only(compare_arms({"a": pairs(10 * table)}, rules=VerdictRules(margin=0.01))).margin is None
    assert only(compare_arms({"a": pairs(table)})).margin is None


def test_false_claims_of_equality_are_at_most_five_percent():
    """The true difference equals the margin."""
    rng = np.random.default_rng(1)
    tables = 0.02 + rng.normal(0, 0.01, (600, 20, 1)) + rng.normal(0, 0.01, (600, 20, 3))
    found = [only(compare_arms({"a": pairs(table)}, rules=VerdictRules(margin=0.02))) for table in tables]
    assert np.mean([one.margin is not None for one in found]) <= 0.065


def test_margin_of_study_is_stated_in_sentence_and_can_be_changed(tmp_path):
    base = np.random.default_rng(0).uniform(0.5, 0.7, (20, 3))
    near = base + np.random.default_rng(1).normal(0, 0.004, (20, 3))
    write_scores(tmp_path, {"unet": base, "lifted": near})
    assert summarise(tmp_path).sentence.endswith("No difference larger than 0.01 Dice: Lifted (centre).")
    assert "No difference" not in summarise(tmp_path, study_rules(tmp_path, margin=0.0005)).sentence
    write_scores(tmp_path, {"unet": base, "lifted": near}, margin=0.02)
    assert "larger than 0.02" in summarise(tmp_path).sentence


def test_arm_with_one_training_is_judged_for_these_weights_only(tmp_path):
    base = np.random.default_rng(0).uniform(0.5, 0.7, (20, 1))
    better = base + np.random.default_rng(1).normal(0.05, 0.02, (20, 1))
    write_scores(tmp_path, {"unet": base, "lifted": better})
    found = summarise(tmp_path)
    comparison = next(row.comparison for row in found.rows if row.comparison)
    assert (comparison.verdict, comparison.for_these_weights) == ("no evidence yet", "helps")
    assert "For these weights, whatever another training would give: Lifted (centre) helps" in found.sentence
    assert "for these weights: helps" in write_report(tmp_path).read_text(encoding="utf-8")


def test_no_effect_gives_no_verdict_for_these_weights_in_95_percent():
    rng = np.random.default_rng(2)
    tables = rng.normal(0, 0.03, (600, 20, 1))
    found = [only(compare_arms({"a": pairs(table)})) for table in tables]
    assert np.mean([one.for_these_weights != "no evidence yet" for one in found]) <= 0.065


@pytest.mark.parametrize(
    ("table", "changes", "reason"),
    [
        (np.full((1, 1), 0.3), {}, "one seed"),
        (np.full((1, 3), 0.3) + np.array([[0, 0.01, 0.02]]), {}, "one case"),
        (np.full((9, 1), 0.3) + np.arange(9)[:, None] / 99, {}, "one seed"),
        (np.zeros((9, 3)), {}, "both arms have the same scores"),
        (np.full((9, 3), 0.3), {}, "all differences are equal"),
        (np.full((9, 3), 0.3) + np.eye(9, 3) / 99, {"missing_cases": ("scan_9",)}, "scores of scan_9"),
        (np.full((9, 3), 0.3) + np.eye(9, 3) / 99, {"missing_classes": ("cyst",)}, "scored on cyst"),
    ],
)
def test_input_that_supports_no_conclusion_gets_its_reason(table, changes, reason):
    found = only(compare_arms({"a": pairs(table, **changes)}, rules=VerdictRules(margin=1.0)))
    assert found.verdict == "no evidence yet"
    assert reason in found.reason
    assert found.margin is None


def test_missing_cases_and_classes_are_found_in_shared_runs_only():
    def scores(arm, cells, seed=0):
        values = [Score(case, class_, "dice", 0.5) for case, class_ in cells]
        return collect_scores([record(arm, seed, values, run_id=f"{arm}{seed}")], "dice")

    full = [("easy", "organ"), ("hard", "organ")]
    found = paired_differences(scores("a", full[:1]), scores("b", full))
    assert found.missing_cases == ("hard",)
    found = paired_differences(scores("a", [*full, ("easy", "cyst"), ("hard", "cyst")]), scores("b", full))
    assert (found.missing_cases, found.missing_classes) == ((), ("cyst",))
    unfinished = scores("b", full) | scores("b", full[:1], seed=1)
    assert paired_differences(scores("a", full), unfinished).missing_cases == ()


def test_case_listed_twice_counts_once(tmp_path):
    base = np.random.default_rng(0).uniform(0.5, 0.7, (6, 3))
    better = base + np.random.default_rng(1).normal(0.02, 0.02, (6, 3))
    twice = {"unet": base[[0, 1, 2, 3, 4, 5, 0]], "lifted": better[[0, 1, 2, 3, 4, 5, 0]]}
    found = summarise(write_scores(tmp_path, twice, n_cases=7))
    assert "scan_0 and scan_6 have the same scores in every run and count as one case." in found.notes
    assert next(row.comparison for row in found.rows if row.comparison).estimate.n_cases == 6


def test_equal_accuracies_are_not_duplicates():
    scores = [Score(case, "all", "accuracy", value) for case, value in (("x", 1.0), ("y", 1.0), ("z", 0.0))]
    assert duplicate_cases([record("a", seed, scores, run_id=str(seed)) for seed in range(4)], "accuracy") == []
    assert merge_groups({"x": "patient", "z": "patient", "y": ""}, [("x", "y")]) == {
        "x": "patient",
        "y": "patient",
        "z": "patient",
    }
