"""A study folder as a table: what has finished counts, what has not is said."""

import numpy as np
import pytest
from synthetic_study import record, write_study

from dimlift.errors import DataError
from dimlift.metrics.scores import score_segmentation
from dimlift.records.record import Score
from dimlift.records.study import Study
from dimlift.report.page import write_page
from dimlift.report.summary import summarise


def row(summary, arm, fraction=1.0):
    return next(row for row in summary.rows if (row.arm, row.fraction) == (arm, fraction))


def test_verdicts_and_means_of_a_whole_study(tmp_path):
    study = write_study(tmp_path, volumes=False)
    found = summarise(tmp_path)
    assert [r.arm for r in found.rows] == list(study.arms)
    assert row(found, "unet").is_reference
    assert row(found, "unet").comparison is None
    assert row(found, "borrowed").comparison.verdict == "helps"
    assert row(found, "slices").comparison.verdict == "hurts"
    assert row(found, "unet").mean == pytest.approx(np.mean([c.mean for c in row(found, "unet").classes]))
    assert [c.name for c in row(found, "unet").classes] == ["anterior", "posterior"]
    assert (found.finished, found.planned, row(found, "unet").planned) == (15, 15, 3)
    assert "U-Net + borrowed features (Dice +0.0" in found.sentence
    assert "over 8 cases and 3 seeds" in found.sentence
    assert found.notes == tuple(study.notes)


def test_a_half_finished_study_reports_what_exists(tmp_path):
    write_study(tmp_path, volumes=False, finished=0.4)  # 6 of 15: one seed whole, the second begun by the reference
    record("lifted", 1, status="failed", extra={"error": "loss is not finite at step 3"}).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert (found.finished, found.failed, found.planned) == (6, 1, 15)
    assert "trained once" in found.sentence
    assert {r.comparison.verdict for r in found.rows if r.comparison} == {"no evidence yet"}
    assert found.failures[0].reason == "loss is not finite at step 3"
    assert found.failures[0].title == "Lifted (centre)"
    assert row(found, "unet").finished == 2


def test_nothing_finished_yet(tmp_path):
    write_study(tmp_path, volumes=False, finished=0)
    found = summarise(tmp_path)
    assert "0 of 15 cells" in found.sentence
    assert all(r.mean is None and r.comparison is None for r in found.rows)


def test_one_arm_has_nothing_to_be_compared_with(tmp_path):
    write_study(tmp_path, names=("lifted",), volumes=False)
    found = summarise(tmp_path)
    assert found.sentence.startswith("Nothing to compare")
    assert "mean Dice 0." in found.sentence


def test_the_reference_is_missing(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False)
    for path in (tmp_path / "records").glob("unet-*"):
        path.unlink()
    assert "none of the reference Plain 3D U-Net" in summarise(tmp_path).sentence


def test_undefined_scores_are_counted_never_averaged(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0)
    for arm, value in (("unet", 0.5), ("lifted", 0.7)):
        for seed in range(2):
            scores = [Score(f"c{i}", "anterior", "dice", value + 0.01 * i) for i in range(3)]
            record(arm, seed, [*scores, Score("c9", "anterior", "dice", None)]).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.excluded == 4
    assert row(found, "unet").mean == pytest.approx(0.51)
    assert (row(found, "unet").classes[0].scored, row(found, "unet").classes[0].excluded) == (6, 2)


def test_every_table_counts_what_was_empty(tmp_path):
    """Left out (both masks empty) and worst value (one empty), beside the mean of each measure they touch."""
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0)
    some, empty = np.zeros((6, 6, 6), int), np.zeros((6, 6, 6), int)
    some[1:4, 1:4, 1:4] = 1
    for arm in ("unet", "lifted"):
        scores = []
        for case, prediction, truth in (("a", some, some), ("b", empty, empty), ("c", empty, some), ("d", some, empty)):
            scores += score_segmentation(case, prediction, truth, {"anterior": 1}, (1, 1, 1))
        record(arm, 0, scores).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert (found.excluded, found.worst) == (2, 4)
    of_class = row(found, "unet").classes[0]
    assert (of_class.scored, of_class.excluded, of_class.worst) == (3, 1, 2)
    assert of_class.mean == pytest.approx(1 / 3)
    left_out = row(found, "unet").left_out
    assert {name: left_out[name] for name in ("hd95_mm", "lesion_sensitivity", "false_lesions")} == {
        "hd95_mm": 1,
        "lesion_sensitivity": 2,
        "false_lesions": 0,
    }
    page = write_page(tmp_path).read_text(encoding="utf-8")
    for words in ("2 scores left out", "4 scores in the means with the worst value", "2 left out", "lesions found"):
        assert words in page


def test_fractions_are_compared_among_themselves(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0, planned=8)
    for fraction, gain in ((0.1, 0.2), (1.0, 0.0)):
        for arm in ("unet", "lifted"):
            for seed in range(2):
                own = gain if arm == "lifted" else 0.0
                scores = [Score(f"c{i}", "anterior", "dice", fraction / 2 + own + 0.01 * i) for i in range(3)]
                record(arm, seed, scores, fraction=fraction, cell=f"{arm}-{fraction}-{seed}").save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.several_fractions
    assert row(found, "lifted", 0.1).comparison.estimate.mean == pytest.approx(0.2)
    assert row(found, "lifted", 1.0).comparison.estimate.mean == pytest.approx(0.0)
    assert row(found, "lifted", 0.1).planned == 2


def test_a_classification_study_is_judged_by_accuracy(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0, task="classification")
    rng = np.random.default_rng(0)
    for arm in ("unet", "lifted"):
        for seed in range(3):
            scores = [Score(f"c{i}", "all", "accuracy", float(rng.random() < 0.5)) for i in range(30)]
            record(arm, seed, [*scores, Score("all", "all", "auroc", 0.7)]).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.measure.name == "accuracy"
    assert row(found, "lifted").comparison.estimate.n_cases == 30
    assert row(found, "lifted").others["auroc"] == pytest.approx(0.7)


def test_records_of_arms_the_study_does_not_know_are_left_out(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False)
    record("stranger", 0).save(tmp_path / "records")
    assert {r.arm for r in summarise(tmp_path).rows} == {"unet", "lifted"}


def test_a_damaged_record_is_named(tmp_path):
    assert isinstance(write_study(tmp_path, names=("unet",), volumes=False), Study)
    (tmp_path / "records" / "zz.json").write_text('{"schema": 1')
    with pytest.raises(DataError, match=r"zz\.json"):
        summarise(tmp_path)


def test_an_interval_beyond_zero_without_a_verdict_is_explained(tmp_path):
    """One arm by itself would be evidence; among many that look alike it is not, and the sentence says so."""
    names = ("unet", *(f"arm{i}" for i in range(30)))
    write_study(tmp_path, names=names, volumes=False, finished=0)
    gains = 0.009 + np.random.default_rng(1).normal(0, 0.012, (12, 3))
    for seed in range(3):
        for number, arm in enumerate(names):
            values = 0.5 + gains[:, seed] * (arm == "arm0") + 1e-4 * np.cos(np.arange(12) * number + seed)
            scores = [Score(f"c{i}", "anterior", "dice", float(value)) for i, value in enumerate(values)]
            record(arm, seed, scores, cell=f"{number}-{seed}").save(tmp_path / "records")
    found = summarise(tmp_path)
    assert row(found, "arm0").comparison.estimate.low > 0
    assert row(found, "arm0").comparison.verdict == "no evidence yet"
    assert found.sentence.endswith("not beyond chance, given how many arms were compared.")
