"""`dimlift run`: the plan fits the budget by measured estimates, and one command leaves a validated final model."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dimlift.errors import ConfigError, RunError
from dimlift.inference.predictor import Predictor
from dimlift.methods.preparation_cost import PreparationCost, require_affordable
from dimlift.progress import Event
from dimlift.records.record import load_records
from dimlift.records.weights import weights_folder
from dimlift.studies.method_choice import choose_method
from dimlift.studies.run import load_run_data
from dimlift.studies.run_dataset import run_dataset
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.run_plan import plan_run
from dimlift.studies.train import open_checked
from dimlift.training.log_file import LogFile
from small_runs import write_case

SMALL = (
    "training.patch_size=[8,8,8]", "training.batch_size=1", "training.num_threads=1", "training.device=cpu",
    "split.folds=3",
)  # fmt: skip
UNET = ("arm.method=unet", "arm.widths=[4,8]", "budget.steps=2", *SMALL)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "blocks"
    for case in range(6):
        write_case(root, f"case{case}", case)
    (root / "images").rename(root / "imagesTr")
    (root / "labels").rename(root / "labelsTr")
    for path in (root / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    write_case(tmp_path / "new", "new", 9)
    (root / "imagesTs").mkdir()
    (tmp_path / "new" / "images" / "new.nii.gz").rename(root / "imagesTs" / "new_0000.nii.gz")
    card = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "bright": 1, "dim": 2}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps({**card, "numTraining": 6}))
    return root


def test_run_validates_trains_on_all_cases_and_predicts_new_ones(data, tmp_path):
    out = tmp_path / "run"
    plan = plan_run(data, out, UNET)
    assert not (out / "run.json").exists()
    result = run_dataset(plan, out)
    (final,) = load_records(out / "final" / "records")
    assert {score.case for score in result.validation.scores} == {case.name for case in held_out(plan)}
    assert final.extra["training_cases"] == [f"case{n}" for n in range(6)]
    assert not set(result.validation.extra["training_cases"]) & {score.case for score in result.validation.scores}
    assert [path.name for path in result.predictions] == ["new.nii.gz"]
    assert result.page.is_file()
    assert weights_folder(out) == out / "final" / "weights"
    assert Predictor.load(weights_folder(out)).preprocessing.labels == {"bright": 1, "dim": 2}


def held_out(plan):
    return load_run_data(plan.validation, plan.dataset).test


def test_run_resumes_and_refuses_another_configuration(data, tmp_path):
    first = run_dataset(plan_run(data, tmp_path / "run", UNET), tmp_path / "run")
    events = []
    again = run_dataset(plan_run(data, tmp_path / "run", UNET), tmp_path / "run", events.append)
    assert again.validation == first.validation
    assert [event.message for event in events if event.stage == "skip"] == ["already finished"] * 2
    other = plan_run(data, tmp_path / "run", [*UNET, "seed=1"])
    with pytest.raises(RunError, match=r"holds another run \(it differs in seed\)"):
        run_dataset(other, tmp_path / "run")
    assert load_records(tmp_path / "run" / "records") == [first.validation]


def test_resumed_run_keeps_its_method(data, tmp_path, monkeypatch):
    options = ["budget.seconds=2000", *SMALL]
    plan = plan_run(data, tmp_path / "run", options)
    assert plan.validation.arm.method == "frozen_features"
    with lock_run_folder(tmp_path / "run" / "final", "train", "x", plan.final.model_dump(mode="json")):
        pass
    monkeypatch.setattr("dimlift.studies.method_choice.FEW_CASES", 0)
    assert plan_run(data, tmp_path / "other", options).validation.arm.method == "unet"
    assert plan_run(data, tmp_path / "run", options).validation == plan.validation


def test_budget_is_that_of_both_trainings(data, tmp_path):
    plan = plan_run(data, tmp_path / "run", [*UNET[:2], "budget.seconds=8", *SMALL])
    assert plan.validation.budget.seconds == plan.final.budget.seconds == 4
    assert "2 x 4 s" in plan.facts["training"]


def test_method_is_chosen_by_measured_cost(data, tmp_path):
    plan = plan_run(data, tmp_path / "run", ["budget.seconds=2000", *SMALL])
    assert plan.validation.arm.method == "frozen_features"
    plan = plan_run(data, tmp_path / "other", ["budget.seconds=0.02", *SMALL])
    assert plan.validation.arm.method == "unet"
    assert "more than 25% of the 0.01 s" in plan.facts["method"]
    with pytest.raises(ConfigError, match=r"frozen_features: extraction takes about .* leave out arm.method"):
        plan_run(data, tmp_path / "third", ["budget.seconds=0.02", "arm.method=frozen_features", *SMALL])


@pytest.mark.parametrize(("thickness", "method"), [(1.0, "unet"), (5.0, "frozen_features")])
def test_many_isotropic_cases_train_from_scratch(data, tmp_path, thickness, method):
    config = plan_run(data, tmp_path / "run", ["budget.seconds=2000", *SMALL]).validation
    loaded = load_run_data(config, open_checked(config))
    task = dataclasses.replace(loaded.task, spacing=(thickness, 1.0, 1.0))
    many = dataclasses.replace(loaded, task=task, train=loaded.train * 10)
    assert choose_method(config, many, tmp_path / "cache", requested=False)[0].arm.method == method
    assert choose_method(config, many, tmp_path / "cache", requested=True)[0].arm.method == "frozen_features"


def test_costs_are_refused_by_time_and_by_disk(tmp_path):
    require_affordable(PreparationCost(2, 10, 9.0), 10, tmp_path)
    require_affordable(None, 1, tmp_path)
    with pytest.raises(ConfigError, match="about 11 s, more than the 10 s of training"):
        require_affordable(PreparationCost(2, 10, 11.0), 10, tmp_path)
    with pytest.raises(ConfigError, match=r"the features take 931322\.57 GiB on disk, .* are free"):
        require_affordable(PreparationCost(2, 10**15, 1.0), None, tmp_path)
    assert PreparationCost(2, 10, 4.0).with_more(2) == PreparationCost(4, 20, 8.0)


def test_log_holds_messages_and_a_line_a_minute(tmp_path, monkeypatch):
    clock, seen = [1000.0], []
    monkeypatch.setattr("dimlift.training.log_file.time.monotonic", lambda: clock[0])
    log = LogFile(tmp_path / "log.txt", seen.append)
    for second in range(150):
        clock[0] = 1000.0 + second
        log(Event("train", fraction=second / 150, step=second, loss=0.5))
    log(Event("done", message="2 steps"))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    steps = ["train 0%, step 0", "train 40%, step 60", "train 80%, step 120"]
    assert [line.split(" ", 2)[2] for line in lines] == [*(f"{step}, loss 0.5000" for step in steps), "2 steps"]
    assert len(seen) == 151


def test_run_of_a_class_folder_trains_a_classifier(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        for case in range(4):
            write_case(tmp_path / "written", f"{name}{case}", int(rng.integers(99)))
            target = tmp_path / "scans" / name / f"{name}{case}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "written" / "images" / f"{name}{case}.nii.gz").rename(target)
    network = ("arm.network=timm:test_resnet", "arm.pretrained=false")
    options = (*network, "budget.steps=2", "split.folds=2", "training.batch_size=2", "training.device=cpu")
    plan = plan_run(tmp_path / "scans", tmp_path / "run", options)
    assert plan.validation.task == "classification"
    result = run_dataset(plan, tmp_path / "run")
    assert {score.metric for score in result.validation.scores} >= {"accuracy"}
    assert Predictor.load(weights_folder(Path(tmp_path / "run"))).task.num_classes == 2
