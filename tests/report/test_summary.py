"""Summary of a study folder, complete, unfinished or damaged."""

import numpy as np
import pytest
from synthetic_study import record, write_study

from dimlift.errors import DataError
from dimlift.metrics.scores import score_segmentation
from dimlift.records.record import Score
from dimlift.records.study import Study
from dimlift.records.train_size import TrainSize
from dimlift.report.page import write_report
from dimlift.report.summary import summarise


def row(summary, arm, size=TrainSize(1.0)):  # noqa: B008 - immutable
    return next(row for row in summary.rows if (row.arm, row.train_size) == (arm, size))


def test_summarise_complete_study(tmp_path):
    study = write_study(tmp_path, volumes=False)
    found = summarise(tmp_path)
    assert [r.arm for r in found.rows] == list(study.arms)
    assert row(found, "unet").is_reference
    assert row(found, "unet").comparison is None
    assert row(found, "frozen_features").comparison.verdict == "helps"
    assert row(found, "slicewise").comparison.verdict == "hurts"
    assert row(found, "unet").mean == pytest.approx(np.mean([c.mean for c in row(found, "unet").classes]))
    assert [c.name for c in row(found, "unet").classes] == ["anterior", "posterior"]
    assert (found.finished, found.planned, row(found, "unet").planned) == (15, 15, 3)
    assert "U-Net + frozen features (Dice +0.0" in found.sentence
    assert "over 8 cases and 3 seeds" in found.sentence
    assert found.notes == tuple(study.notes)


def test_summarise_unfinished_study(tmp_path):
    write_study(tmp_path, volumes=False, finished=0.4)  # 6 of 15: one complete seed, and the reference of the second
    record("lifted", 1, status="failed", extra={"reason": "loss is not finite at step 3"}).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert (found.finished, found.failed, found.planned) == (6, 1, 15)
    assert "trained once" in found.sentence
    assert {r.comparison.verdict for r in found.rows if r.comparison} == {"no evidence yet"}
    assert found.failures[0].reason == "loss is not finite at step 3"
    assert found.failures[0].title == "Lifted (centre)"
    assert row(found, "unet").finished == 2


def test_summarise_study_without_finished_runs(tmp_path):
    write_study(tmp_path, volumes=False, finished=0)
    found = summarise(tmp_path)
    assert "0 of 15 runs" in found.sentence
    assert all(r.mean is None and r.comparison is None for r in found.rows)


def test_summarise_study_with_one_arm(tmp_path):
    write_study(tmp_path, names=("lifted",), volumes=False)
    found = summarise(tmp_path)
    assert found.sentence.startswith("No comparison")
    assert "mean Dice 0." in found.sentence


def test_summarise_study_without_reference_runs(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False)
    for path in (tmp_path / "records").glob("unet-*"):
        path.unlink()
    assert "none of the reference Plain 3D U-Net" in summarise(tmp_path).sentence


def test_undefined_scores_are_counted_but_not_averaged(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0)
    for arm, value in (("unet", 0.5), ("lifted", 0.7)):
        for seed in range(2):
            scores = [Score(f"c{i}", "anterior", "dice", value + 0.01 * i) for i in range(3)]
            record(arm, seed, [*scores, Score("c9", "anterior", "dice", None)]).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.excluded == 4
    assert row(found, "unet").mean == pytest.approx(0.51)
    assert (row(found, "unet").classes[0].scored, row(found, "unet").classes[0].excluded) == (6, 2)


def test_tables_count_empty_masks(tmp_path):
    """Excluded (both masks empty) and worst value (one empty) are counted next to each affected mean."""
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
    undefined = row(found, "unet").undefined
    assert {name: undefined[name] for name in ("hd95_mm", "lesion_sensitivity", "false_lesions")} == {
        "hd95_mm": 1,
        "lesion_sensitivity": 2,
        "false_lesions": 0,
    }
    page = write_report(tmp_path).read_text(encoding="utf-8")
    expected = ("2 scores excluded", "4 scores in the means with the worst value", "2 excluded", "lesion sensitivity")
    for text in expected:
        assert text in page


def test_arms_are_compared_within_each_train_size(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0, planned=8)
    for fraction, gain in ((0.1, 0.2), (1.0, 0.0)):
        for arm in ("unet", "lifted"):
            for seed in range(2):
                own = gain if arm == "lifted" else 0.0
                scores = [Score(f"c{i}", "anterior", "dice", fraction / 2 + own + 0.01 * i) for i in range(3)]
                run = record(arm, seed, scores, train_fraction=fraction, run_id=f"{arm}-{fraction}-{seed}")
                run.save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.several_sizes
    assert row(found, "lifted", TrainSize(0.1)).comparison.estimate.mean == pytest.approx(0.2)
    assert row(found, "lifted", TrainSize(1.0)).comparison.estimate.mean == pytest.approx(0.0)
    assert row(found, "lifted", TrainSize(0.1)).planned == 2


def test_classification_study_uses_accuracy(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False, finished=0, task="classification")
    rng = np.random.default_rng(0)
    for arm in ("unet", "lifted"):
        for seed in range(3):
            scores = [Score(f"c{i}", "all", "accuracy", float(rng.random() < 0.5)) for i in range(30)]
            record(arm, seed, [*scores, Score("all", "all", "auroc", 0.7)]).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert found.measure.name == "accuracy"
    assert row(found, "lifted").comparison.estimate.n_cases == 30
    assert row(found, "lifted").other_measures["auroc"] == pytest.approx(0.7)


def test_records_of_unknown_arms_are_ignored(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), volumes=False)
    record("unknown", 0).save(tmp_path / "records")
    assert {r.arm for r in summarise(tmp_path).rows} == {"unet", "lifted"}


def test_summarise_names_damaged_record(tmp_path):
    assert isinstance(write_study(tmp_path, names=("unet",), volumes=False), Study)
    (tmp_path / "records" / "zz.json").write_text('{"schema": 1')
    with pytest.raises(DataError, match=r"zz\.json"):
        summarise(tmp_path)


def test_sentence_explains_interval_without_verdict(tmp_path):
    """An effect that is significant for a single arm is not after correction for many arms."""
    names = ("unet", *(f"arm{i}" for i in range(30)))
    write_study(tmp_path, names=names, volumes=False, finished=0)
    gains = 0.009 + np.random.default_rng(1).normal(0, 0.012, (12, 3))
    for seed in range(3):
        for number, arm in enumerate(names):
            values = 0.5 + gains[:, seed] * (arm == "arm0") + 1e-4 * np.cos(np.arange(12) * number + seed)
            scores = [Score(f"c{i}", "anterior", "dice", float(value)) for i, value in enumerate(values)]
            record(arm, seed, scores, run_id=f"{number}-{seed}").save(tmp_path / "records")
    found = summarise(tmp_path)
    assert row(found, "arm0").comparison.estimate.low > 0
    assert row(found, "arm0").comparison.verdict == "no evidence yet"
    assert "not beyond chance once 30 arms are counted; alone it would be." in found.sentence


def test_count_one_and_fraction_one_are_different_sizes(tmp_path):
    """One labelled case and all labelled cases are separate rows, sorted by number of training cases."""
    names = ("unet", "lifted")
    write_study(
        tmp_path, names=names, volumes=False, finished=0, planned=8, train_fractions=[0.1, 1.0], train_counts=[1]
    )
    sizes = {TrainSize(count=1): 1, TrainSize(0.1): 4, TrainSize(1.0): 40}
    for size, cases in sizes.items():
        for arm in names:
            scores = [Score(f"c{i}", "anterior", "dice", 0.5 + cases / 100 + 0.01 * i) for i in range(3)]
            fields = {"train_fraction": size.fraction, "train_count": size.count, "run_id": f"{arm}-{size}"}
            record(arm, 0, scores, extra={"training_cases": ["x"] * cases}, **fields).save(tmp_path / "records")
    found = summarise(tmp_path)
    assert list(dict.fromkeys(row.train_size for row in found.rows)) == list(sizes)
    assert found.largest_size == TrainSize(1.0)
    assert row(found, "unet", TrainSize(count=1)).mean == pytest.approx(0.52)
    assert "with 1 labelled case" in found.sentence or "with all labels" in found.sentence
    assert "with 1 labelled case" in write_report(tmp_path).read_text(encoding="utf-8")
