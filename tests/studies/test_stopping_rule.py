"""Studies that stop once every verdict is decided."""

import numpy as np
import pytest

from dimlift.errors import ConfigError, RunError
from dimlift.records.record import RunRecord, Score, load_records
from dimlift.records.study import Study, StudyArm
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.summary import summarise
from dimlift.report.verdict import OPEN, VerdictRules, compare_arms
from dimlift.studies import compare as compare_module
from dimlift.studies.compare import compare
from dimlift.studies.stopping_rule import is_decided
from small_runs import study_config

SEEDS = [0, 1, 2, 3, 4]


def write_study(folder, gain, noise=0.01, analyses=3, seeds=3, margin=None):
    rng = np.random.default_rng(0)
    arms = {"unet": StudyArm("U"), "wide": StudyArm("W")}
    Study("t", "segmentation", "unet", arms, planned=10, analyses=analyses, margin=margin).save(folder)
    for seed in range(seeds):
        for arm in arms:
            values = 0.7 + gain * (arm == "wide") + rng.normal(0, noise, 20)
            scores = [Score(f"c{n}", "organ", "dice", float(value)) for n, value in enumerate(values)]
            run = RunRecord(f"{arm}{seed}", arm, 0, seed, 1, 1.0, 0, {}, "finished", scores=scores, train_fraction=1.0)
            run.save(folder / "records")
    return folder


def test_decided_is_every_verdict_or_a_difference_below_the_margin(tmp_path):
    assert is_decided(write_study(tmp_path / "better", 0.1))
    assert is_decided(write_study(tmp_path / "worse", -0.1))
    assert not is_decided(write_study(tmp_path / "open", 0.0, noise=0.1))
    assert is_decided(write_study(tmp_path / "equal", 0.0, noise=1e-4, margin=0.01))
    Study("t", "segmentation", "unet", {"unet": StudyArm("U")}, planned=5).save(tmp_path / "alone")
    assert not is_decided(tmp_path / "alone")
    (note,) = summarise(tmp_path / "better").notes
    assert "at one of 3 planned analyses: p values are multiplied by 3" in note


def test_p_values_are_multiplied_by_the_analyses():
    rng = np.random.default_rng(0)
    case, seed = (grid.ravel() for grid in np.meshgrid(np.arange(20), np.arange(4), indexing="ij"))
    pairs = {"a": PairedDifferences(0.01 + rng.normal(0, 0.02, 80), case, seed, 0)}
    once, thrice = (compare_arms(pairs, rules=VerdictRules(analyses=analyses))["a"].p_adjusted for analyses in (1, 3))
    assert thrice == pytest.approx(min(1, 3 * once))


def false_verdicts(analyses, studies=200, seeds=8):
    """Return the share of studies without an effect that stop with a verdict after three to eight seeds."""
    rng, false = np.random.default_rng(0), 0
    for _ in range(studies):
        table = rng.normal(0, 0.01, seeds) + rng.normal(0, 0.01, (20, seeds))
        for trained in range(3, seeds + 1):
            case, seed = np.indices((20, trained)).reshape(2, -1)
            pairs = {"a": PairedDifferences(table[:, :trained].ravel(), case, seed, 0)}
            if compare_arms(pairs, rules=VerdictRules(analyses=analyses))["a"].verdict != OPEN:
                false += 1
                break
    return false / studies


def test_at_most_one_study_in_twenty_stops_with_a_false_verdict():
    assert false_verdicts(analyses=6) <= 0.05
    assert false_verdicts(analyses=1) > 0.08  # six analyses without a correction


def test_study_stops_at_the_first_analysis_with_every_verdict(data, tmp_path, monkeypatch):
    monkeypatch.setattr(compare_module, "is_decided", lambda out: True)
    config, messages = study_config(data, seeds=SEEDS, until="decided", budget={"steps": 1}), []
    for _ in range(2):  # the second call finds every run finished, and stops at the same analysis
        compare(config, tmp_path, progress=lambda event: messages.append(event.message))
        assert sorted({record.seed for record in load_records(tmp_path / "records")}) == [0, 1, 2]
        assert len(load_records(tmp_path / "records")) == 6
    assert messages.count("stopped after 3 seeds: every verdict is decided") == 2
    assert Study.load(tmp_path).analyses == 3
    with pytest.raises(RunError, match=r"planned with 3 analyses of its verdicts, and this .* has 1 analysis"):
        compare(study_config(data, seeds=SEEDS, budget={"steps": 1}), tmp_path)


def test_open_study_trains_every_seed_and_analyses_between_them(data, tmp_path, monkeypatch):
    analyses = []
    monkeypatch.setattr(compare_module, "is_decided", lambda out: analyses.append(len(load_records(out / "records"))))
    records = compare(study_config(data, seeds=SEEDS, until="decided", budget={"steps": 1}), tmp_path)
    assert len(records) == 10
    assert analyses == [6, 8]


def test_analyses_that_cannot_be_kept_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="until: decided needs at least 4 seeds, got 3"):
        study_config(data, seeds=[0, 1, 2], until="decided")
    config = study_config(data, seeds=SEEDS, until="decided")
    with pytest.raises(ConfigError, match="--executor local"):
        compare(config, tmp_path, executor=lambda jobs, resources: iter(()))
