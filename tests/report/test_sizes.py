"""Label fractions, labels saved, and how large a study must be."""

import numpy as np
import pytest
from synthetic_study import Study, record

from dimlift.records.record import Score
from dimlift.records.study import Arm
from dimlift.report.fraction_curves import fraction_curves
from dimlift.report.label_efficiency import Curve
from dimlift.report.mixed_effects import estimate
from dimlift.report.page import write_page
from dimlift.report.paired_differences import Pairs
from dimlift.report.phrases import energy, worth
from dimlift.report.power import needed, power_sentence
from dimlift.report.summary import summarise
from dimlift.report.verdict import compare


def write_fractions(folder, gain=0.05, slope=0.1, cases=6, seeds=3):
    """The reference gains `slope` with every doubling of 4 labelled cases; the other arm is better by `gain`."""
    rng = np.random.default_rng(0)
    named = {"unet": Arm("U-Net"), "better": Arm("Better")}
    Study("t", "segmentation", "unet", named, planned=6 * seeds, fractions=[4, 8, 16]).save(folder)
    for fraction in (4, 8, 16):
        for seed in range(seeds):
            noise = rng.normal(0, 0.001, cases)
            for arm in named:
                level = 0.5 + slope * np.log2(fraction / 4) + (gain if arm == "better" else 0)
                values = level + noise + rng.normal(0, 0.0005, cases)
                scores = [Score(f"case_{i}", "organ", "dice", float(value)) for i, value in enumerate(values)]
                extra = {"training_cases": ["x"] * fraction}
                cell = f"{arm}-{fraction}-{seed}"
                record(arm, seed, scores, cell=cell, fraction=fraction, extra=extra).save(folder / "records")
    return folder


def rows_of(folder):
    return {(row.arm, row.training_cases): row for row in summarise(folder).rows}


def test_half_a_doubling_of_gain_is_worth_half_a_doubling_of_labels(tmp_path):
    rows = rows_of(write_fractions(tmp_path, gain=0.05, slope=0.1))
    assert rows["better", 4].worth.cases == pytest.approx(4 * 2**0.5, rel=0.02)
    assert rows["better", 8].worth.cases == pytest.approx(8 * 2**0.5, rel=0.02)
    assert rows["better", 8].worth.low < rows["better", 8].worth.cases < rows["better", 8].worth.high
    assert rows["better", 16].worth.cases is None  # beyond what the reference was tried with
    assert worth(rows["better", 16].worth).startswith("more than 16")
    assert rows["unet", 8].worth is None


def test_a_worse_arm_saves_nothing(tmp_path):
    rows = rows_of(write_fractions(tmp_path, gain=-0.05, slope=0.1))
    assert rows["better", 8].worth.cases == pytest.approx(8 / 2**0.5, rel=0.02)
    assert rows["better", 4].worth.cases == 0
    assert worth(rows["better", 4].worth).startswith("fewer than 4")


def test_where_less_is_better_the_curve_is_turned_round():
    curve = Curve(np.array([4.0, 8.0, 16.0]), np.array([-3.0, -2.0, -2.0]))
    assert curve.cases_for(-2.5) == pytest.approx(4 * 2**0.5)
    assert curve.cases_for(-2.0) == pytest.approx(8)  # the first point of a level stretch
    assert curve.cases_for(-1.0) == float("inf")
    assert curve.cases_for(-4.0) == 0


def test_the_page_shows_curves_and_labels_saved_for_several_fractions_only(tmp_path):
    text = write_page(write_fractions(tmp_path)).read_text()
    assert "Scores over labelled cases" in text
    assert "Labels saved" in text
    assert ">+3<" in text  # 8 cases are worth 11.3
    assert "labelled training cases</text>" in text
    assert fraction_curves(summarise(tmp_path)) is not None


def test_a_single_fraction_has_no_curve_and_no_worth(tmp_path):
    Study("t", "segmentation", "unet", {"unet": Arm(), "other": Arm()}, planned=4).save(tmp_path)
    for arm in ("unet", "other"):
        for seed in range(2):
            record(arm, seed, [Score("x", "o", "dice", 0.5), Score("y", "o", "dice", 0.6)]).save(tmp_path / "records")
    summary = summarise(tmp_path)
    assert fraction_curves(summary) is None
    assert all(row.worth is None for row in summary.rows)


def simulated(rng, cases, seeds, deviations=(0.03, 0.005, 0.03)):
    case, seed, rest = deviations
    table = rng.normal(0, case, (cases, 1)) + rng.normal(0, seed, (1, seeds)) + rng.normal(0, rest, (cases, seeds))
    return (table.ravel(), *np.indices(table.shape).reshape(2, -1))


def test_a_study_of_the_size_needed_sees_the_difference_in_about_four_of_five():
    rng = np.random.default_rng(0)
    found = needed(estimate(*simulated(rng, 4000, 30)), 0.01)  # a study so large that its variances are all but exact
    assert found.seeds == 30
    small = estimate(*simulated(rng, 400, 5))
    for effect in (0.02, 0.015):
        size = needed(small, effect)
        seen = 0
        for _ in range(300):
            values, case, seed = simulated(rng, size.cases, size.seeds)
            seen += compare({"a": Pairs(values + effect, case, seed, 0)})["a"].verdict == "helps"
        assert 0.6 < seen / 300 < 0.97


def test_smaller_differences_need_more_and_luck_needs_seeds():
    rng = np.random.default_rng(1)
    quiet = estimate(*simulated(rng, 30, 5, (0.03, 0.0, 0.01)))
    assert needed(quiet, 0.01).cases > 2 * needed(quiet, 0.02).cases
    lucky = estimate(*simulated(rng, 200, 3, (0.01, 0.02, 0.01)))
    assert needed(lucky, 0.02).seeds > 3
    assert needed(estimate(*simulated(rng, 30, 1)), 0.01) is None


def test_the_sentence_says_what_there_is_and_what_it_takes(tmp_path):
    sentence = power_sentence(summarise(write_fractions(tmp_path)))
    assert sentence.startswith("To see a difference of 0.01 Dice with a chance of 80 %, about ")
    assert sentence.endswith("this study has 6 cases and 3 seeds.")


def test_energy_in_words():
    assert [energy(3600 * hours) for hours in (0.8, 12, 1200)] == ["0.8 Wh", "12 Wh", "1.20 kWh"]
