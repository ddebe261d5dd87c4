"""Up to how many labelled cases an arm pays."""

import numpy as np
import pytest
from synthetic_study import Study, record

from dimlift.records.record import Score
from dimlift.records.study import StudyArm
from dimlift.report.confidence_interval import crossed_interval
from dimlift.report.crossing_point import LabelLevel, find_crossing
from dimlift.report.crossing_sentence import crossing_sentence
from dimlift.report.page import write_report
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.summary import summarise
from dimlift.report.verdict import compare_arms

COUNTS = (2, 4, 8, 16, 32)


def differences(gain, noise=0.01, cases=30, seeds=4, seed=0):
    rng = np.random.default_rng(seed)
    case, run = (grid.ravel() for grid in np.meshgrid(np.arange(cases), np.arange(seeds), indexing="ij"))
    values = gain + rng.normal(0, noise, cases)[case] + rng.normal(0, noise / 3, seeds)[run]
    values = values + rng.normal(0, noise, len(case))
    return PairedDifferences(values, case, run, 0, tuple(map(str, range(cases))))


def levels(gains, better=1, **options):
    pairs = {
        count: differences(gain * better, seed=count, **options) for count, gain in zip(COUNTS, gains, strict=True)
    }
    judged = compare_arms(pairs, better)
    return [LabelLevel(float(count), pairs[count], judged[count].verdict) for count in COUNTS]


def test_crossing_of_a_line_in_log2_is_its_zero():
    found = find_crossing(levels([0.08, 0.05, 0.02, -0.01, -0.04], noise=1e-4))
    assert found.outcome == "stops paying"
    assert found.paying == (2, 4, 8)
    assert found.crossing == pytest.approx(8 * 2 ** (2 / 3), rel=0.01)
    assert found.low <= found.crossing <= found.high
    assert found.high / found.low < 1.1
    assert crossing_sentence("Arm", found).startswith("Arm pays below about 13 labelled cases (95 % interval 1")


@pytest.mark.parametrize("better", [1, -1])
def test_interval_holds_the_numbers_at_which_zero_is_not_rejected(better):
    tested = levels([0.08, 0.05, 0.02, -0.01, -0.04], better)
    found = find_crossing(tested, better)
    below, above = tested[2].pairs, tested[3].pairs

    def includes_zero(count):
        part = np.log2(count / 8)
        values = (1 - part) * below.differences + part * above.differences
        interval = crossed_interval(values, below.cases, below.seeds)
        return interval.low <= 0 <= interval.high

    assert 8 < found.low < found.crossing < found.high < 16
    step = 2 ** (1 / 24)
    assert includes_zero(found.low * step * 1.001)
    assert includes_zero(found.high / step / 1.001)
    assert not includes_zero(found.low * 0.999)
    assert not includes_zero(found.high * 1.001)


def test_more_noise_gives_a_longer_interval_and_open_ends():
    gains = [0.12, 0.06, 0.02, -0.02, -0.03]
    sharp, noisy = (find_crossing(levels(gains, noise=noise)) for noise in (0.01, 0.05))
    assert sharp.high is not None
    assert noisy.high is None  # a gain of zero is possible up to the largest number tried
    assert noisy.low < sharp.low
    assert "more than 32" in crossing_sentence("Arm", noisy) or "no end in the range" in crossing_sentence("Arm", noisy)


def test_nothing_is_extrapolated():
    found = find_crossing(levels([0.05, 0.04, 0.03, 0.02, 0.01], noise=1e-3))  # a line would end at 64
    assert (found.outcome, found.crossing, found.high) == ("pays", None, None)
    assert crossing_sentence("Arm", found) == "Arm pays at every number of labelled cases tried (2 to 32)."


def test_band_covers_more_than_each_interval():
    tested = levels([0.05, 0.04, 0.03, 0.02, 0.01])
    found = find_crossing(tested)
    for (low, high), level in zip(found.band, tested, strict=True):
        alone = crossed_interval(level.pairs.differences, level.pairs.cases, level.pairs.seeds)
        assert low < alone.low < alone.high < high


def test_arm_without_a_verdict_pays_nowhere():
    found = find_crossing(levels([0.002, 0.0, -0.001, 0.001, 0.0]))
    assert found.outcome == "no evidence"
    assert found.crossing is None
    assert "no evidence that it pays at any number" in crossing_sentence("Arm", found)
    hurts = find_crossing(levels([-0.05] * 5))
    assert crossing_sentence("Arm", hurts) == "Arm hurts with 2, 4, 8, 16 and 32 labelled cases."
    late = find_crossing(levels([0.0, 0.05, 0.05, 0.05, 0.05]))
    assert crossing_sentence("Arm", late).endswith("32 labelled cases; no evidence yet with 2 labelled cases.")


def drop(level, keep):
    pairs = level.pairs
    kept = PairedDifferences(pairs.differences[keep], pairs.cases[keep], pairs.seeds[keep], 0, pairs.case_names)
    return level._replace(pairs=kept)


def test_unequal_samples_are_named_or_reduced_to_the_shared_seeds():
    tested = levels([0.08, 0.05, 0.02, -0.01, -0.04])
    full = find_crossing(tested)
    fewer = find_crossing([drop(tested[0], tested[0].pairs.seeds > 0), *tested[1:]])  # a seed still to be trained
    assert fewer.high / fewer.low > full.high / full.low
    hard = find_crossing([*tested[:4], drop(tested[4], tested[4].pairs.cases > 3)])  # cases missing at one number
    assert "2 and 32 labelled cases were tested on different cases" in crossing_sentence("Arm", hard)
    single = find_crossing([drop(level, level.pairs.seeds == 0) for level in tested])
    assert "fewer than two seeds were trained at every number" in crossing_sentence("Arm", single)
    one_case = find_crossing([drop(level, level.pairs.cases == 0) for level in tested])
    assert "tested on one case" in crossing_sentence("Arm", one_case)


def write_curve(folder, gains, seeds=4):
    named = {"unet": StudyArm("U-Net"), "better": StudyArm("Better")}
    Study("t", "segmentation", "unet", named, planned=40, train_counts=list(COUNTS)).save(folder)
    rng = np.random.default_rng(0)
    for count, gain in zip(COUNTS, gains, strict=True):
        for seed in range(seeds):
            for arm in named:
                values = 0.5 + (gain if arm == "better" else 0) + rng.normal(0, 0.005, 12)
                scores = [Score(f"case_{i}", "organ", "dice", float(value)) for i, value in enumerate(values)]
                size = {"train_fraction": None, "train_count": count}
                extra = {"training_cases": ["x"] * count}
                record(arm, seed, scores, run_id=f"{arm}-{count}-{seed}", extra=extra, **size).save(folder / "records")
    return folder


def test_page_starts_with_the_number_of_labels(tmp_path):
    folder = write_curve(tmp_path, [0.08, 0.05, 0.02, -0.01, -0.04])
    ((title, found),) = summarise(folder).crossings
    assert title == "Better"
    page = write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")
    assert crossing_sentence(title, found) in page
    assert page.index('id="crossing"') < page.index('id="arms"')
    assert "Gain in Dice over the number of labelled cases" in page


def test_study_with_one_number_of_labels_has_no_crossing(tmp_path):
    named = {"unet": StudyArm("U-Net"), "better": StudyArm("Better")}
    Study("t", "segmentation", "unet", named, planned=4, train_counts=[4]).save(tmp_path)
    for arm in named:
        scores = [Score("a", "organ", "dice", 0.5)]
        record(arm, 0, scores, run_id=arm, train_fraction=None, train_count=4).save(tmp_path / "records")
    assert summarise(tmp_path).crossings == ()
    assert 'id="crossing"' not in write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
