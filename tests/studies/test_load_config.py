"""What a person reads when a configuration is wrong, and how files and overrides come together."""

import pytest

from dimlift.errors import ConfigError
from dimlift.methods.registry import METHODS
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.run_config import StudyConfig, TrainConfig

MINIMAL = {"dataset": {"path": "x"}, "arm": {"method": "unet"}, "budget": {"steps": 10}}
FILE = """
dataset: {path: somewhere}
arm: {method: unet}
budget: {steps: 10}
training: {rate: 1e-4, precision: 32}
"""


def refusal(raw, model=TrainConfig) -> str:
    with pytest.raises(ConfigError) as fault:
        parse(raw, model, source="run.yaml")
    message = str(fault.value)
    assert message.startswith("run.yaml")
    for jargon in ("pydantic", "input_value", "type=", "validation error", "tagged-union", "literal["):
        assert jargon not in message
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": {"path": "x", "layuot": "csv"}}, ["unknown key 'dataset.layuot'", "'layout'"]),
        ({"trainning": {}}, ["unknown key 'trainning'", "'training'"]),
        ({"arm": {"method": "unet", "width": [8, 8]}}, ["unknown key 'arm.width'", "'widths'"]),
        ({"arm": {"method": "lifted", "plan": {"kernal": 3}}}, ["unknown key 'arm.plan.kernal'", "'kernel'"]),
        ({"arm": {"method": "unnet"}}, ["'arm.method'", "'unnet'", "unet"]),
        ({"arm": {"widths": [8, 8]}}, ["'arm.method' is missing", "unet"]),
        ({"dataset": {}}, ["key 'dataset.path' is missing: folder or CSV file with the volumes"]),
        ({"arm": {"method": "retrospect"}}, ["key 'arm.photos' is missing: folder of photographs", "any will do"]),
        ({"budget": {}}, ["'budget'", "exactly one", "steps", "seconds"]),
        ({"budget": {"steps": 1, "seconds": 1}}, ["'budget'", "exactly one"]),
        ({"budget": {"steps": 0}}, ["'budget.steps'", "at least 1", "found 0"]),
        ({"training": {"batch_size": "two"}}, ["'training.batch_size'", "whole number", "'two'"]),
        ({"training": {"patch_size": [1, 2]}}, ["'training.patch_size'", "'auto' or a list of 3", "[1, 2]"]),
        ({"training": {"augment": "perhaps"}}, ["'training.augment'", "true or false"]),
        ({"training": {"warm_up": 2}}, ["'training.warm_up'", "at most 1", "found 2"]),
        ({"training": 3}, ["'training'", "keys and values", "found 3"]),
        ({"fold": 7}, ["fold 7", "has 5"]),
        ({"task": "segmentaton"}, ["'task'", "'segmentation'", "'segmentaton'"]),
    ],
)
def test_every_fault_names_key_and_remedy(changes, words):
    message = refusal({**MINIMAL, **changes})
    for word in words:
        assert word in message


def test_faults_are_listed_together():
    message = refusal({**MINIMAL, "dataset": {"paht": "x"}, "training": {"batch_size": -1}})
    assert len(message.splitlines()) == 4  # the file, the unknown key, the missing one, the value


def test_a_typo_deep_in_an_arm_of_a_study_names_that_arms_keys():
    arms = {"one": {"method": "lifted", "encoder_scal": 2}}
    message = refusal({"dataset": {"path": "x"}, "budget": {"steps": 1}, "arms": arms}, StudyConfig)
    assert "unknown key 'arms.one.encoder_scal'; did you mean 'encoder_scale'?" in message


def test_a_study_refuses_a_reference_that_is_no_arm():
    raw = {"dataset": {"path": "x"}, "budget": {"steps": 1}, "arms": {"a": {"method": "unet"}}, "reference": "b"}
    assert "'reference' is 'b'" in refusal(raw, StudyConfig)


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(FILE)
    pairs = ["training.batch_size=7", "arm.widths=[4, 8]", "seed=3", "budget={seconds: 60}", "training.rate=1e-3"]
    config = load_config(path, pairs, TrainConfig)
    assert (config.training.batch_size, config.arm.widths, config.seed) == (7, (4, 8), 3)
    assert (config.budget.seconds, config.budget.steps) == (60, None)
    assert config.training.rate == 1e-3
    assert config.training.precision == "32"  # YAML reads a number


@pytest.mark.parametrize(
    ("pair", "words"),
    [("training", "key.sub=value"), ("=3", "key.sub=value"), ("seed.x=1", "override 'seed.x=1'"), ("a=[1", "not YAML")],
)
def test_a_malformed_override_is_refused(tmp_path, pair, words):
    path = tmp_path / "run.yaml"
    path.write_text(FILE + "seed: 1\n")
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        load_config(path, [pair], TrainConfig)


@pytest.mark.parametrize(
    ("content", "words"), [("a: [", "is not YAML"), ("- a\n- b", "holds a list"), ("\xff\xfe", "unknown|holds a str")]
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words) as fault:
        load_config(path, [], TrainConfig)
    assert str(path) in str(fault.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.yaml", [], TrainConfig)


def test_the_resolved_configuration_reads_back_equal(data):
    from small_runs import study_config, train_config

    for config in (train_config(data), study_config(data)):
        assert parse(config.model_dump(mode="json"), type(config)) == config


def test_a_cell_changes_with_what_decides_its_result_and_with_nothing_else():
    config = parse(MINIMAL, TrainConfig)
    cell = config.cell("data")
    same = {"name": "other", "arm": {"method": "unet", "title": "x"}, "training": {"threads": 2, "checkpoint_every": 9}}
    assert parse({**MINIMAL, **same}, TrainConfig).cell("data") == cell
    others = [{"seed": 1}, {"fold": 1}, {"fraction": 0.5}, {"budget": {"steps": 11}}, {"training": {"rate": 0.1}}]
    others += [{"arm": {"method": "unet", "widths": [8, 8]}}]
    cells = {parse({**MINIMAL, **change}, TrainConfig).cell("data") for change in others}
    assert len(cells | {cell, config.cell("other data")}) == len(others) + 2


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_named_as_in_the_table_and_describes_its_keys(method):
    arm = METHODS[method]
    required = {name: "somewhere" for name, field in arm.model_fields.items() if field.is_required()}
    assert arm.model_validate({**required, "method": method}).method == method
    assert all(field.description for field in arm.model_fields.values())


def test_an_arm_may_set_its_own_rate_and_precision():
    raw = {**MINIMAL, "training": {"rate": 1e-3, "precision": "bf16"}}
    arm = raw.pop("arm")
    shared = parse({**raw, "arm": arm}, TrainConfig, source="a test").loop
    assert (shared.rate, shared.precision) == (1e-3, "bf16")
    own = parse({**raw, "arm": {**arm, "rate": 1e-4, "precision": "32"}}, TrainConfig, source="a test").loop
    assert (own.rate, own.precision) == (1e-4, "32")
    assert own.batch_size == shared.batch_size


def test_keys_that_came_later_are_part_of_a_run_only_where_they_say_something():
    arm = {"method": "lifted", "network": "timm:test_resnet"}
    plain = METHODS["lifted"].model_validate(arm).without_names()
    assert {"repeat", "encoder_warm_up"}.isdisjoint(plain)
    assert "spacing" not in plain["plan"]
    later = {"repeat": 1, "encoder_warm_up": 0.5, "plan": {"spacing": "data"}}
    found = METHODS["lifted"].model_validate({**arm, **later}).without_names()
    assert (found["repeat"], found["encoder_warm_up"], found["plan"]["spacing"]) == (1, 0.5, "data")
    assert {**found, "plan": 0} == {**plain, "plan": 0, "repeat": 1, "encoder_warm_up": 0.5}
