"""Stages in a row: pseudo-labels teach, the best round is kept, nothing that tests is learnt from."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml

from dimlift.data.io.readers import read_file
from dimlift.errors import ConfigError, DataError
from dimlift.inference.predict_files import predict
from dimlift.records.weights import read_card, read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.self_training import rounds as rounds_module
from dimlift.studies.self_training.config import StagesConfig
from dimlift.studies.self_training.run import run_stages
from dimlift.studies.train import train
from small_runs import study_config, train_config, write_case

UNET = {"method": "unet", "widths": [4, 8], "residual_units": 0}
TRAINING = {"patch_size": [8, 8, 8], "batch_size": 2, "rate": 0.02, "augment": False, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two more volumes; nobody labelled them."""
    folder = tmp_path_factory.mktemp("pool") / "more"
    for number in (20, 21):
        write_case(folder, f"more_{number}", number)
    shutil.rmtree(folder / "labels")
    return folder


def config(data, pool, **changes):
    raw = {
        "labelled": {"path": str(data)},
        "unlabelled": {"path": str(pool)},
        "student": UNET,
        "stages": ["segmentation", "segmia"],
        "folds": 2,
        "rounds": 2,
        "budget": {"steps": 40},
        "refine": {"steps": 5},
        "training": TRAINING,
    }
    return parse({**raw, **changes}, StagesConfig)


@pytest.fixture(scope="module")
def staged(data, pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("staged") / "run"
    return out, run_stages(config(data, pool, rounds=1), out)


def test_rounds_leave_pseudo_labels_weights_and_a_report(staged, data, pool):
    out, rows = staged
    assert [(row.stage, row.round) for row in rows] == [("segmentation", 0), ("segmia", 1)]
    assert json.loads((out / "stages.json").read_text())[1]["dice"] == rows[1].dice
    labels = sorted((out / "segmia" / "round-1" / "fold-0" / "pool" / "labelsTr").glob("*"))
    assert [path.name for path in labels] == ["more_20.nii.gz", "more_21.nii.gz"]
    (predicted,) = predict(
        out / "segmentation" / "fold-0" / "labels", [pool / "images" / "more_20.nii.gz"], out / "again.nii.gz"
    )
    np.testing.assert_array_equal(nib.load(predicted).get_fdata(), nib.load(labels[0]).get_fdata())
    card = read_card(out / "weights")
    assert len(card["seen"]) == 8  # what was labelled and what was not
    round_ = out / "segmia" / "round-1" / "fold-0"
    student, refined = (yaml.safe_load((round_ / part / "config.yaml").read_text()) for part in ("student", "labels"))
    assert student["arm"]["start"] is None  # every round begins at the initial weights
    assert student["dataset"]["path"] == str(round_ / "pool")
    assert refined["arm"]["start"] == str(round_ / "student" / "weights")
    assert refined["dataset"]["path"] == str(data)


def test_a_student_begins_where_the_first_network_began(data, pool, tmp_path):
    """Two trainings of one step at a rate near zero: both are still the initial weights."""
    still = {**TRAINING, "rate": 1e-12}
    found = config(data, pool, training=still, budget={"steps": 1}, rounds=1)
    train(found.lesson(found.labelled, fold=0), tmp_path / "one")
    train(found.lesson(found.labelled, fold=1), tmp_path / "two")
    one, two = (read_weights(tmp_path / name / "weights")[0] for name in ("one", "two"))
    kernels = [name for name in one if one[name].ndim == 5]
    assert max(float((one[name] - two[name]).abs().max()) for name in kernels) < 1e-6
    assert found.lesson(found.labelled, fold=0, start="x").arm.rate == pytest.approx(0.2e-12)


def test_what_is_finished_is_not_done_again(staged, data, pool, monkeypatch):
    out, rows = staged
    events = []
    again = run_stages(config(data, pool, rounds=1), out, events.append)
    assert [row.dice for row in again] == [row.dice for row in rows]
    assert not [event for event in events if event.stage == "train"]


def test_rounds_end_when_dice_drops_and_keep_what_was_better(data, pool, tmp_path, monkeypatch):
    honest, values = rounds_module.over_folds, iter([0.6, 0.5])

    def scripted(config, out, starts, progress, **options):
        line, seconds = honest(config, out, starts, progress, **options)
        return (rounds_module.replace(line, dice=next(values)) if "segmia" in str(out) else line), seconds

    monkeypatch.setattr(rounds_module, "over_folds", scripted)
    rows = run_stages(config(data, pool, rounds=5), tmp_path / "run")
    # the first network's own Dice may lie on either side of 0.6; after a round of 0.6 one of 0.5 must be the last
    assert rows[-1].kept is False
    assert "dropped" in rows[-1].note
    kept = [row.round for row in rows if row.stage == "segmia" and row.kept]
    teachers = read_card(tmp_path / "run" / "weights")["teachers"]
    assert all((f"round-{kept[-1]}" if kept else "segmentation") in path for path in teachers)


def test_a_teacher_that_finds_nothing_stops_the_round_by_name(data, pool, tmp_path, monkeypatch):
    from dimlift.inference.predictor import Trained

    answer = Trained.answer
    monkeypatch.setattr(
        Trained, "answer", lambda self, sample: answer(self, sample) * (0 if sample.name.startswith("more") else 1)
    )
    rows = run_stages(config(data, pool, budget={"steps": 2}), tmp_path / "run")
    assert "round 1 of segmia, fold 0" in rows[-1].note
    assert "nothing but background" in rows[-1].note
    assert (tmp_path / "run" / "segmentation" / "fold-1" / "labels" / "weights" / "model.json").is_file()
    assert read_card(tmp_path / "run" / "weights")["method"] == "stages"


def test_a_pool_that_holds_a_labelled_volume_is_refused(data, pool, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(pool, mixed)
    original = nib.load(data / "images" / "case_3.nii.gz")
    nib.save(original, mixed / "images" / "renamed.nii")  # unpacked: not a byte of the file is the same
    with pytest.raises(DataError, match="renamed"):
        run_stages(config(data, mixed), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_study_that_tests_on_what_was_seen_refuses_the_weights(staged, data, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(data, again)
    for packed in (again / "images").glob("*.nii.gz"):
        nib.save(nib.load(packed), again / "images" / f"renamed_{packed.name.removesuffix('.gz')}")
        packed.unlink()
        mask = again / "labels" / packed.name
        mask.rename(mask.with_name(f"renamed_{packed.name}"))
    arm = {**UNET, "start": str(staged[0] / "weights")}
    for folder in (data, again):
        with pytest.raises(DataError, match="pretrained on"):
            train(train_config(folder, arm=arm, budget={"steps": 1}), tmp_path / f"run-{folder.name}")


def test_each_cell_of_a_study_starts_from_its_own_weights(data):
    arms = {"started": {**UNET, "start": "w/{fraction}/{seed}-{fold}"}, "fresh": UNET}
    study = study_config(data, arms=arms, seeds=[0, 1])
    assert study.run("started", fraction=8.0, fold=2, seed=1).arm.start == "w/8/1-2"
    assert study.run("fresh", fraction=8.0, fold=2, seed=1).arm.start is None


def test_stages_that_lack_something_are_refused(data, pool):
    with pytest.raises(ConfigError, match="unlabelled"):
        config(data, pool, unlabelled=None)
    with pytest.raises(ConfigError, match="classified"):
        config(data, pool, stages=["segmentation", "multitask"])
    with pytest.raises(ConfigError, match="order"):
        config(data, pool, stages=["segmia", "segmentation"])


def test_multitask_learns_classes_beside_pseudo_labels(data, pool, tmp_path):
    table = tmp_path / "classes.csv"
    rows = [f"{pool / 'images' / f'more_{n}.nii.gz'},{'ab'[n % 2]},p{n}" for n in (20, 21)]
    table.write_text("\n".join(["image,label,group", *rows]))
    lifted = {"method": "lifted", "network": "timm:test_resnet", "width": 8, "pretrained": False}
    found = config(
        data,
        pool,
        student=lifted,
        stages=["segmentation", "multitask"],
        classified={"path": str(table)},
        budget={"steps": 30},
        rounds=1,
    )
    rows = run_stages(found, tmp_path / "run")
    assert [row.stage for row in rows] == ["segmentation", "multitask"]
    assert (tmp_path / "run" / "weights" / "model.json").is_file()


def test_without_imagenet_no_training_asks_for_2d_weights(data, pool):
    student = {"method": "lifted", "network": "timm:test_resnet"}
    without = config(data, pool, student=student, stages=["segmentation", "segmia"])
    lessons = [without.lesson(without.labelled, fold=0, start=start) for start in (None, "weights")]
    assert [lesson.arm.pretrained for lesson in lessons] == [False, False]
    whole = config(data, pool, student=student, stages=["imagenet", "segmentation", "segmia"])
    assert whole.lesson(whole.labelled, fold=0).arm.pretrained is not False


def test_several_runs_are_averaged_not_the_last_taken(staged, data, pool, tmp_path):
    out, _ = staged
    image = pool / "images" / "more_20.nii.gz"
    members = [out / "segmentation" / f"fold-{fold}" / "labels" for fold in (0, 1)]
    from dimlift.inference.ensemble import averaged
    from dimlift.inference.predictor import Trained

    networks = [Trained.load(member / "weights") for member in members]
    chances = [n.probabilities(n.preprocessing.read_image([image])) for n in networks]
    assert np.allclose(sum(chances).sum(axis=0), 2, atol=1e-4)
    np.testing.assert_array_equal(averaged(networks, [image], read_file)[0], np.mean(chances, axis=0).argmax(axis=0))
    (once,) = predict(members, [image], tmp_path / "once.nii.gz")
    (twice,) = predict(members[::-1], [image], tmp_path / "twice.nii.gz")
    np.testing.assert_array_equal(nib.load(once).get_fdata(), nib.load(twice).get_fdata())
    assert not np.array_equal(chances[0], chances[1])
