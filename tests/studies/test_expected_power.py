"""What a study can detect, stated before it starts."""

import numpy as np
import pytest

from dimlift.errors import RunError
from dimlift.records.record import RunRecord, Score
from dimlift.records.study import Study, StudyArm
from dimlift.report.confidence_interval import crossed_interval, half_width
from dimlift.report.power import VarianceComponents, detectable_difference, power_of, variance_components
from dimlift.studies.expected_power import describe_power
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig


def study(**changes):
    content = {
        "dataset": {"path": "x"},
        "budget": {"steps": 10},
        "arms": {"unet": {"method": "unet"}, "wide": {"method": "unet", "widths": [16, 32]}},
        "seeds": [0, 1, 2],
    }
    return parse(content | changes, StudyConfig, source="study.yaml")


def test_detected_differences_are_detected_as_often_as_stated():
    known, cases, seeds = VarianceComponents(0.03**2, 0.01**2, 0.03**2), 20, 4
    rng = np.random.default_rng(0)
    case, seed = (grid.ravel() for grid in np.meshgrid(np.arange(cases), np.arange(seeds), indexing="ij"))
    difference, found = detectable_difference(known, cases, seeds), 0
    for _ in range(400):
        noise = rng.normal(0, 0.03, cases)[case] + rng.normal(0, 0.01, seeds)[seed]
        values = difference + noise + rng.normal(0, 0.03, len(case))
        one = crossed_interval(values, case, seed)
        found += one.mean > half_width(one, 0.05)
    assert 0.7 < found / 400 < 0.92  # estimated variances make t quantiles of few seeds uncertain
    assert power_of(known, difference, cases, seeds) == pytest.approx(0.8)
    assert power_of(known, difference / 3, cases, seeds) < 0.3


def test_variance_components_are_those_of_single_differences():
    rng = np.random.default_rng(1)
    case, seed = (grid.ravel() for grid in np.meshgrid(np.arange(400), np.arange(40), indexing="ij"))
    values = rng.normal(0, 0.03, 400)[case] + rng.normal(0, 0.02, 40)[seed] + rng.normal(0, 0.05, len(case))
    found = variance_components(crossed_interval(values, case, seed))
    assert np.sqrt(found.case) == pytest.approx(0.03, rel=0.1)
    assert np.sqrt(found.seed) == pytest.approx(0.02, rel=0.3)
    assert np.sqrt(found.residual) == pytest.approx(0.05, rel=0.05)


def test_more_comparisons_need_a_larger_difference(tmp_path):
    def smallest(**changes):
        return float(describe_power(study(**changes), 30, tmp_path).split()[4])

    assert smallest() < smallest(train_counts=[2, 4, 8])
    several = {"seeds": [0, 1, 2, 3, 4]}
    assert smallest(**several) < smallest(**several, until="decided")  # three analyses
    assert smallest(seeds=[0, 1, 2, 3, 4]) < smallest()
    text = describe_power(study(), 30, tmp_path)
    assert "(30 test cases, 3 seeds, 1 comparison)" in text
    assert "earlier studies with few labels" in text


def test_study_that_hardly_detects_its_effect_is_not_started(tmp_path):
    hopeless = study(report={"effect": 0.002})
    with pytest.raises(RunError, match=r"report\.effect=0\.002 Dice with a probability of \d+% only.*--anyway"):
        describe_power(hopeless, 30, tmp_path)
    assert "report.effect=0.002 is detected" in describe_power(hopeless, 30, tmp_path, anyway=True)
    assert "report.effect=0.2 is detected with a probability of 100%" in describe_power(
        study(report={"effect": 0.2}), 30, tmp_path
    )


def test_studies_without_a_statement(tmp_path):
    assert describe_power(study(arms={"unet": {"method": "unet"}}), 30, tmp_path) == ""
    assert describe_power(study(task="classification"), 30, tmp_path) == ""  # no variance is known
    assert describe_power(study(seeds=[0]), 30, tmp_path).startswith("no verdict is possible with 1 seed")
    assert "no verdict is possible" in describe_power(study(), 1, tmp_path)


def test_finished_runs_replace_the_earlier_variances(tmp_path):
    rng = np.random.default_rng(0)
    Study("t", "segmentation", "unet", {"unet": StudyArm("U"), "wide": StudyArm("W")}, planned=6).save(tmp_path)
    for seed in range(3):
        for arm in ("unet", "wide"):
            scores = [Score(f"c{n}", "organ", "dice", 0.8 + rng.normal(0, 0.001)) for n in range(30)]
            run = RunRecord(f"{arm}{seed}", arm, 0, seed, 10, 1.0, 0, {}, "finished", scores=scores, train_fraction=1.0)
            run.save(tmp_path / "records")
    text = describe_power(study(report={"effect": 0.002}), 30, tmp_path)
    assert "variances of 3 finished seeds" in text
    assert "report.effect=0.002 is detected with a probability of 100%" in text
