"""Studies: every run once, and failed runs do not stop the others."""

import json

import pytest

from dimlift.errors import RunError
from dimlift.records.record import load_records
from dimlift.records.study import Study
from dimlift.studies.compare import compare, planned_runs
from small_runs import study_config


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    """A finished study of two arms and two seeds."""
    out = tmp_path_factory.mktemp("studies") / "study"
    compare(study_config(data), out)
    return out


def test_compare_writes_record_weights_and_predictions_per_run(study):
    records = load_records(study / "records")
    assert {(r.arm, r.seed) for r in records} == {(arm, seed) for arm in ("small", "wide") for seed in (0, 1)}
    for record in records:
        assert record.status == "finished"
        assert (study / "weights" / record.run_id / "model.safetensors").is_file()
        assert len(list((study / "predictions" / record.run_id).glob("*.nii.gz"))) == 2


def test_compare_writes_study_plan(study):
    plan = Study.load(study)
    assert (plan.planned, plan.reference, plan.budget) == (4, "small", {"steps": 2})
    assert {arm.parameters is not None for arm in plan.arms.values()} == {True}
    assert {score.case for record in load_records(study / "records") for score in record.scores} == set(plan.cases)


def test_compare_copies_provenance_into_study(study, data):
    origin = {"weights": "teacher.pth", "licence": "mit"}
    for record in load_records(study / "records"):
        card = study / "weights" / record.run_id / "model.json"
        if record.arm == "small":
            card.write_text(json.dumps(json.loads(card.read_text()) | {"provenance": origin}))
    compare(study_config(data), study)
    arms = Study.load(study).arms
    assert arms["small"].provenance == origin
    assert arms["wide"].provenance is None


def test_compare_repeats_failed_runs_only(study, data, monkeypatch):
    trained = []
    from dimlift.studies import run

    original = run.train_run
    monkeypatch.setattr(run, "train_run", lambda config, *rest: trained.append(config.name) or original(config, *rest))
    compare(study_config(data), study)
    assert trained == []
    record = load_records(study / "records")[0]
    path = study / "records" / f"{record.run_id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "failed"}))
    compare(study_config(data), study)
    assert trained == [record.arm]


def test_planned_runs_alternates_arms_within_a_seed(data):
    order = [(run.seed, run.name) for run in planned_runs(study_config(data))]
    assert order == [(0, "small"), (0, "wide"), (1, "small"), (1, "wide")]


def test_failed_run_states_reason_and_study_continues(data, tmp_path):
    arms = {
        "broken": {"method": "lifted", "network": "timm:no_such_network"},
        "fine": {"method": "unet", "widths": [4, 8]},
    }
    records = compare(study_config(data, arms=arms, seeds=[0]), tmp_path)
    assert [(r.arm, r.status) for r in records] == [("broken", "failed"), ("fine", "finished")]
    assert "no_such_network" in records[0].extra["reason"]


def test_study_accepts_new_arms_but_no_other_budget(study, data):
    arms = study_config(data).model_dump(mode="json")["arms"]
    events = []
    records = compare(
        study_config(data, arms={**arms, "third": {"method": "unet", "widths": [4, 6]}}), study, events.append
    )
    assert [e.arm for e in events if e.stage == "done"] == ["third", "third"]
    assert len(records) == 6
    with pytest.raises(RunError, match=r"another study \(it differs in .*budget.steps"):
        compare(study_config(data, budget={"steps": 3}), study)


def test_compare_moves_superseded_records(data, tmp_path):
    arms = {"only": {"method": "unet", "widths": [4, 8]}}
    compare(study_config(data, arms=arms, seeds=[0]), tmp_path)
    compare(study_config(data, arms={"only": {"method": "unet", "widths": [4, 6]}}, seeds=[0]), tmp_path)
    assert len(load_records(tmp_path / "records")) == 1
    assert len(list((tmp_path / "records" / "superseded").iterdir())) == 1


def test_compare_only_runs_selected_arms(data, tmp_path):
    records = compare(study_config(data, seeds=[0]), tmp_path, only=["wide"])
    assert [record.arm for record in records] == ["wide"]
    assert set(Study.load(tmp_path).arms) == {"small", "wide"}


def test_replicate_changes_seeds_only(data, tmp_path):
    small = {"method": "unet", "widths": [4, 8]}
    config = study_config(data, arms={"once": small, "again": {**small, "replicate": 1}}, seeds=[0])
    once, again = planned_runs(config)
    assert once.run_id("data") != again.run_id("data")
    assert once.init_seed != again.init_seed
    assert once.run_id("data") == planned_runs(study_config(data, arms={"once": small}, seeds=[0]))[0].run_id("data")
    first, second = compare(config, tmp_path)
    assert first.extra["training_cases"] == second.extra["training_cases"]
    assert first.history[0]["loss"] != second.history[0]["loss"]
    assert first.extra["cpu_seconds"] > 0
