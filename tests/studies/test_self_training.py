"""Self-training: rounds of pseudo-labels, the best round is kept, no test case is used for training."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml

from dimlift.data.io.readers import read_volume
from dimlift.errors import ConfigError, DataError
from dimlift.inference.predict_files import predict
from dimlift.records.train_size import TrainSize
from dimlift.records.weights import read_card, read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.self_training import rounds as rounds_module
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.run import self_train
from dimlift.studies.train import train
from small_runs import study_config, train_config, write_case

UNET = {"method": "unet", "widths": [4, 8], "residual_units": 0}
TRAINING = {"patch_size": [8, 8, 8], "batch_size": 2, "lr": 0.02, "augment": False, "num_threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two unlabelled volumes."""
    folder = tmp_path_factory.mktemp("pool") / "more"
    for number in (20, 21):
        write_case(folder, f"more_{number}", number)
    shutil.rmtree(folder / "labels")
    return folder


def config(data, pool, **changes):
    raw = {
        "labelled": {"path": str(data)},
        "unlabelled": {"path": str(pool)},
        "arm": UNET,
        "stages": ["segmentation", "segmia"],
        "folds": 2,
        "num_rounds": 2,
        "budget": {"steps": 40},
        "finetune": {"steps": 5},
        "training": TRAINING,
    }
    return parse({**raw, **changes}, SelfTrainingConfig)


@pytest.fixture(scope="module")
def trained(data, pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("self_train") / "run"
    return out, self_train(config(data, pool, num_rounds=1), out)


def test_self_train_writes_pseudo_labels_weights_and_report(trained, data, pool):
    out, results = trained
    assert [(row.stage, row.round) for row in results] == [("segmentation", 0), ("segmia", 1)]
    assert json.loads((out / "stages.json").read_text())[1]["dice"] == results[1].dice
    labels = sorted((out / "segmia" / "round-1" / "fold-0" / "pool" / "labelsTr").glob("*"))
    assert [path.name for path in labels] == ["more_20.nii.gz", "more_21.nii.gz"]
    (predicted,) = predict(
        out / "segmentation" / "fold-0" / "labels", [pool / "images" / "more_20.nii.gz"], out / "again.nii.gz"
    )
    np.testing.assert_array_equal(nib.load(predicted).get_fdata(), nib.load(labels[0]).get_fdata())
    card = read_card(out / "weights")
    assert len(card["seen"]) == 8  # labelled and unlabelled volumes
    round_ = out / "segmia" / "round-1" / "fold-0"
    student, refined = (yaml.safe_load((round_ / part / "config.yaml").read_text()) for part in ("student", "labels"))
    assert student["arm"]["init_from"] is None  # every round starts from the initial weights
    assert student["dataset"]["path"] == str(round_ / "pool")
    assert refined["arm"]["init_from"] == str(round_ / "student" / "weights")
    assert refined["dataset"]["path"] == str(data)


def test_students_start_from_the_same_initial_weights(data, pool, tmp_path):
    """One step at a learning rate near zero leaves the initial weights unchanged."""
    still = {**TRAINING, "lr": 1e-12}
    found = config(data, pool, training=still, budget={"steps": 1}, num_rounds=1)
    train(found.training_config(found.labelled, fold=0), tmp_path / "one")
    train(found.training_config(found.labelled, fold=1), tmp_path / "two")
    one, two = (read_weights(tmp_path / name / "weights")[0] for name in ("one", "two"))
    kernels = [name for name in one if one[name].ndim == 5]
    assert max(float((one[name] - two[name]).abs().max()) for name in kernels) < 1e-6
    assert found.training_config(found.labelled, fold=0, init_from="x").arm.lr == pytest.approx(0.2e-12)


def test_self_train_skips_finished_stages(trained, data, pool, monkeypatch):
    out, results = trained
    events = []
    again = self_train(config(data, pool, num_rounds=1), out, events.append)
    assert [row.dice for row in again] == [row.dice for row in results]
    assert not [event for event in events if event.stage == "train"]


def test_rounds_end_when_dice_drops(data, pool, tmp_path, monkeypatch):
    original, values = rounds_module.cross_validate, iter([0.6, 0.5])

    def scripted(config, out, students, progress, **options):
        state, seconds = original(config, out, students, progress, **options)
        return (rounds_module.replace(state, dice=next(values)) if "segmia" in str(out) else state), seconds

    monkeypatch.setattr(rounds_module, "cross_validate", scripted)
    rows = self_train(config(data, pool, num_rounds=5), tmp_path / "run")
    # Dice of the first network may be above or below 0.6; a round with 0.5 after one with 0.6 must be the last
    assert rows[-1].kept is False
    assert "dropped" in rows[-1].note
    kept = [row.round for row in rows if row.stage == "segmia" and row.kept]
    teachers = read_card(tmp_path / "run" / "weights")["teachers"]
    assert all((f"round-{kept[-1]}" if kept else "segmentation") in path for path in teachers)


def test_empty_pseudo_labels_end_the_rounds(data, pool, tmp_path, monkeypatch):
    from dimlift.inference.predictor import Predictor

    predict_labels = Predictor.predict

    def predict_background(self, sample):
        return predict_labels(self, sample) * (0 if sample.name.startswith("more") else 1)

    monkeypatch.setattr(Predictor, "predict", predict_background)
    rows = self_train(config(data, pool, budget={"steps": 2}), tmp_path / "run")
    assert "round 1 of segmia, fold 0" in rows[-1].note
    assert "only background" in rows[-1].note
    assert (tmp_path / "run" / "segmentation" / "fold-1" / "labels" / "weights" / "model.json").is_file()
    assert read_card(tmp_path / "run" / "weights")["method"] == "self_training"


def test_labelled_volumes_in_pool_are_rejected(data, pool, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(pool, mixed)
    original = nib.load(data / "images" / "case_3.nii.gz")
    nib.save(original, mixed / "images" / "renamed.nii")  # uncompressed, so the bytes of the file differ
    with pytest.raises(DataError, match="renamed"):
        self_train(config(data, mixed), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_are_rejected_if_test_cases_were_seen(trained, data, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(data, again)
    for packed in (again / "images").glob("*.nii.gz"):
        nib.save(nib.load(packed), again / "images" / f"renamed_{packed.name.removesuffix('.gz')}")
        packed.unlink()
        mask = again / "labels" / packed.name
        mask.rename(mask.with_name(f"renamed_{packed.name}"))
    arm = {**UNET, "init_from": str(trained[0] / "weights")}
    for folder in (data, again):
        with pytest.raises(DataError, match="used in the pretraining"):
            train(train_config(folder, arm=arm, budget={"steps": 1}), tmp_path / f"run-{folder.name}")


def test_init_from_placeholders_are_filled_in(data):
    arms = {"started": {**UNET, "init_from": "w/{train_count}/{seed}-{fold}"}, "fresh": UNET}
    study = study_config(data, arms=arms, seeds=[0, 1])
    run = {"train_size": TrainSize(count=8), "fold": 2, "seed": 1}
    assert study.run_config("started", **run).arm.init_from == "w/8/1-2"
    assert study.run_config("fresh", **run).arm.init_from is None


def test_self_training_config_rejects_missing_sections(data, pool):
    with pytest.raises(ConfigError, match="unlabelled"):
        config(data, pool, unlabelled=None)
    with pytest.raises(ConfigError, match="classification"):
        config(data, pool, stages=["segmentation", "multitask"])
    with pytest.raises(ConfigError, match="order"):
        config(data, pool, stages=["segmia", "segmentation"])


def test_multitask_trains_on_classes_and_pseudo_labels(data, pool, tmp_path):
    table = tmp_path / "classes.csv"
    rows = [f"{pool / 'images' / f'more_{n}.nii.gz'},{'ab'[n % 2]},p{n}" for n in (20, 21)]
    table.write_text("\n".join(["image,label,group", *rows]))
    lifted = {"method": "lifted", "network": "timm:test_resnet", "decoder_channels": 8, "pretrained": False}
    found = config(
        data,
        pool,
        arm=lifted,
        stages=["segmentation", "multitask"],
        classification={"path": str(table)},
        budget={"steps": 30},
        num_rounds=1,
    )
    rows = self_train(found, tmp_path / "run")
    assert [row.stage for row in rows] == ["segmentation", "multitask"]
    assert (tmp_path / "run" / "weights" / "model.json").is_file()


def test_without_imagenet_stage_no_pretrained_weights_are_loaded(data, pool):
    arm = {"method": "lifted", "network": "timm:test_resnet"}
    without = config(data, pool, arm=arm, stages=["segmentation", "segmia"])
    runs = [without.training_config(without.labelled, fold=0, init_from=path) for path in (None, "weights")]
    assert [run.arm.pretrained for run in runs] == [False, False]
    whole = config(data, pool, arm=arm, stages=["imagenet", "segmentation", "segmia"])
    assert whole.training_config(whole.labelled, fold=0).arm.pretrained is not False


def test_predict_averages_probabilities_of_several_runs(trained, data, pool, tmp_path):
    out, _ = trained
    image = pool / "images" / "more_20.nii.gz"
    members = [out / "segmentation" / f"fold-{fold}" / "labels" for fold in (0, 1)]
    from dimlift.inference.ensemble import predict_case
    from dimlift.inference.predictor import Predictor

    networks = [Predictor.load(member / "weights") for member in members]
    probabilities = [n.predict_proba(n.preprocessing.read_image([image])) for n in networks]
    assert np.allclose(sum(probabilities).sum(axis=0), 2, atol=1e-4)
    np.testing.assert_array_equal(
        predict_case(networks, [image], read_volume)[0], np.mean(probabilities, axis=0).argmax(axis=0)
    )
    (once,) = predict(members, [image], tmp_path / "once.nii.gz")
    (twice,) = predict(members[::-1], [image], tmp_path / "twice.nii.gz")
    np.testing.assert_array_equal(nib.load(once).get_fdata(), nib.load(twice).get_fdata())
    assert not np.array_equal(probabilities[0], probabilities[1])
