"""Training sizes, labels saved, and the required size of a study."""

import numpy as np
import pytest
from synthetic_study import Study, record

from dimlift.records.record import Score
from dimlift.records.study import StudyArm
from dimlift.report.confidence_interval import crossed_interval
from dimlift.report.label_curves import label_curves
from dimlift.report.label_efficiency import ReferenceCurve
from dimlift.report.page import write_report
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.phrases import format_energy, format_label_savings
from dimlift.report.power import power_sentence, required_size
from dimlift.report.summary import summarise
from dimlift.report.verdict import compare_arms


def write_sizes(folder, gain=0.05, slope=0.1, cases=6, seeds=3):
    """The reference gains `slope` per doubling of 4 labelled cases; the other arm is better by `gain`."""
    rng = np.random.default_rng(0)
    named = {"unet": StudyArm("U-Net"), "better": StudyArm("Better")}
    Study("t", "segmentation", "unet", named, planned=6 * seeds, train_counts=[4, 8, 16]).save(folder)
    for count in (4, 8, 16):
        for seed in range(seeds):
            noise = rng.normal(0, 0.001, cases)
            for arm in named:
                level = 0.5 + slope * np.log2(count / 4) + (gain if arm == "better" else 0)
                values = level + noise + rng.normal(0, 0.0005, cases)
                scores = [Score(f"case_{i}", "organ", "dice", float(value)) for i, value in enumerate(values)]
                extra = {"training_cases": ["x"] * count}
                run_id = f"{arm}-{count}-{seed}"
                size = {"train_fraction": None, "train_count": count}
                record(arm, seed, scores, run_id=run_id, extra=extra, **size).save(folder / "records")
    return folder


def rows_of(folder):
    return {(row.arm, row.training_cases): row for row in summarise(folder).rows}


def test_label_savings_follow_reference_curve(tmp_path):
    rows = rows_of(write_sizes(tmp_path, gain=0.05, slope=0.1))
    assert rows["better", 4].label_savings.cases == pytest.approx(4 * 2**0.5, rel=0.02)
    assert rows["better", 8].label_savings.cases == pytest.approx(8 * 2**0.5, rel=0.02)
    assert (
        rows["better", 8].label_savings.low
        < rows["better", 8].label_savings.cases
        < rows["better", 8].label_savings.high
    )
    assert rows["better", 16].label_savings.cases is None  # beyond the largest size of the reference
    assert format_label_savings(rows["better", 16].label_savings).startswith("more than 16")
    assert rows["unet", 8].label_savings is None


def test_label_savings_of_worse_arm_are_negative(tmp_path):
    rows = rows_of(write_sizes(tmp_path, gain=-0.05, slope=0.1))
    assert rows["better", 8].label_savings.cases == pytest.approx(8 / 2**0.5, rel=0.02)
    assert rows["better", 4].label_savings.cases == 0
    assert format_label_savings(rows["better", 4].label_savings).startswith("fewer than 4")


def test_reference_curve_handles_plateaus_and_limits():
    curve = ReferenceCurve(np.array([4.0, 8.0, 16.0]), np.array([-3.0, -2.0, -2.0]))
    assert curve.cases_for(-2.5) == pytest.approx(4 * 2**0.5)
    assert curve.cases_for(-2.0) == pytest.approx(8)  # the first point of a plateau
    assert curve.cases_for(-1.0) == float("inf")
    assert curve.cases_for(-4.0) == 0


def test_page_shows_label_curves_for_several_sizes(tmp_path):
    text = write_report(write_sizes(tmp_path)).read_text()
    assert "Scores over labelled cases" in text
    assert "Labels saved" in text
    assert ">+3<" in text  # 11.3 instead of 8 cases
    assert "labelled training cases</text>" in text
    assert label_curves(summarise(tmp_path)) is not None


def test_single_size_has_no_label_curves(tmp_path):
    Study("t", "segmentation", "unet", {"unet": StudyArm(), "other": StudyArm()}, planned=4).save(tmp_path)
    for arm in ("unet", "other"):
        for seed in range(2):
            record(arm, seed, [Score("x", "o", "dice", 0.5), Score("y", "o", "dice", 0.6)]).save(tmp_path / "records")
    summary = summarise(tmp_path)
    assert label_curves(summary) is None
    assert all(row.label_savings is None for row in summary.rows)


def simulated(rng, cases, seeds, stds=(0.03, 0.005, 0.03)):
    case, seed, residual = stds
    table = rng.normal(0, case, (cases, 1)) + rng.normal(0, seed, (1, seeds)) + rng.normal(0, residual, (cases, seeds))
    return (table.ravel(), *np.indices(table.shape).reshape(2, -1))


def test_required_size_gives_about_eighty_percent_power():
    rng = np.random.default_rng(0)
    found = required_size(crossed_interval(*simulated(rng, 4000, 30)), 0.01)  # large enough for nearly exact variances
    assert found.seeds == 30
    small = crossed_interval(*simulated(rng, 400, 5))
    for effect in (0.02, 0.015):
        size = required_size(small, effect)
        detected = 0
        for _ in range(300):
            values, case, seed = simulated(rng, size.cases, size.seeds)
            detected += compare_arms({"a": PairedDifferences(values + effect, case, seed, 0)})["a"].verdict == "helps"
        assert 0.6 < detected / 300 < 0.97


def test_required_size_grows_with_precision_and_seed_variance():
    rng = np.random.default_rng(1)
    low_noise = crossed_interval(*simulated(rng, 30, 5, (0.03, 0.0, 0.01)))
    assert required_size(low_noise, 0.01).cases > 2 * required_size(low_noise, 0.02).cases
    seed_noise = crossed_interval(*simulated(rng, 200, 3, (0.01, 0.02, 0.01)))
    assert required_size(seed_noise, 0.02).seeds > 3
    assert required_size(crossed_interval(*simulated(rng, 30, 1)), 0.01) is None


def test_power_sentence_states_own_and_required_size(tmp_path):
    sentence = power_sentence(summarise(write_sizes(tmp_path)))
    assert sentence.startswith("To detect a difference of 0.01 Dice with a probability of 80 %, about ")
    assert sentence.endswith("this study has 6 cases and 3 seeds.")


def test_format_energy_chooses_unit():
    assert [format_energy(3600 * hours) for hours in (0.8, 12, 1200)] == ["0.8 Wh", "12 Wh", "1.20 kWh"]
