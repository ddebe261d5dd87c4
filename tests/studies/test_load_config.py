"""Configuration files, overrides, and error messages."""

import pytest

from dimlift.errors import ConfigError
from dimlift.methods.registry import METHODS
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig

MINIMAL = {"dataset": {"path": "x"}, "arm": {"method": "unet"}, "budget": {"steps": 10}}
FILE = """
dataset: {path: somewhere}
arm: {method: unet}
budget: {steps: 10}
training: {lr: 1e-4, precision: 32}
"""


def error_of(raw, model=TrainConfig) -> str:
    with pytest.raises(ConfigError) as fault:
        parse(raw, model, source="run.yaml")
    message = str(fault.value)
    assert message.startswith("run.yaml")
    for internal in ("pydantic", "input_value", "type=", "validation error", "tagged-union", "literal["):
        assert internal not in message
    return message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"dataset": {"path": "x", "layuot": "csv"}}, ["unknown key 'dataset.layuot'", "'layout'"]),
        ({"trainning": {}}, ["unknown key 'trainning'", "'training'"]),
        ({"arm": {"method": "unet", "width": [8, 8]}}, ["unknown key 'arm.width'", "'widths'"]),
        ({"arm": {"method": "lifted", "plan": {"kernal": 3}}}, ["unknown key 'arm.plan.kernal'", "'kernel'"]),
        ({"arm": {"method": "unnet"}}, ["'arm.method'", "'unnet'", "unet"]),
        ({"arm": {"widths": [8, 8]}}, ["'arm.method' is missing", "unet"]),
        ({"dataset": {}}, ["key 'dataset.path' is missing: folder, CSV"]),
        ({"arm": {"method": "image_replay"}}, ["key 'arm.image_dir' is missing: folder of images"]),
        ({"budget": {}}, ["'budget'", "exactly one", "steps", "seconds"]),
        ({"budget": {"steps": 1, "seconds": 1}}, ["'budget'", "exactly one"]),
        ({"budget": {"steps": 0}}, ["'budget.steps'", "at least 1", "found 0"]),
        ({"training": {"batch_size": "two"}}, ["'training.batch_size'", "whole number", "'two'"]),
        ({"training": {"patch_size": [1, 2]}}, ["'training.patch_size'", "'auto' or a list of 3", "[1, 2]"]),
        ({"training": {"augment": "perhaps"}}, ["'training.augment'", "true or false"]),
        ({"training": {"warmup_fraction": 2}}, ["'training.warmup_fraction'", "at most 1", "found 2"]),
        ({"training": 3}, ["'training'", "keys and values", "found 3"]),
        ({"fold": 7}, ["fold 7", "has 5"]),
        ({"task": "segmentaton"}, ["'task'", "'segmentation'", "'segmentaton'"]),
    ],
)
def test_error_names_key_value_and_fix(changes, parts):
    message = error_of({**MINIMAL, **changes})
    for part in parts:
        assert part in message


def test_errors_are_listed_together():
    message = error_of({**MINIMAL, "dataset": {"paht": "x"}, "training": {"batch_size": -1}})
    assert len(message.splitlines()) == 4  # the file, the unknown key, the missing one, the value


def test_error_in_arm_of_study_suggests_key_of_its_method():
    arms = {"one": {"method": "lifted", "encoder_lr_scal": 2}}
    message = error_of({"dataset": {"path": "x"}, "budget": {"steps": 1}, "arms": arms}, StudyConfig)
    assert "unknown key 'arms.one.encoder_lr_scal'; did you mean 'encoder_lr_scale'?" in message


def test_study_rejects_unknown_reference():
    raw = {"dataset": {"path": "x"}, "budget": {"steps": 1}, "arms": {"a": {"method": "unet"}}, "reference": "b"}
    assert "'reference' is 'b'" in error_of(raw, StudyConfig)


def test_overrides_replace_values_of_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(FILE)
    pairs = ["training.batch_size=7", "arm.widths=[4, 8]", "seed=3", "budget={seconds: 60}", "training.lr=1e-3"]
    config = load_config(path, pairs, TrainConfig)
    assert (config.training.batch_size, config.arm.widths, config.seed) == (7, (4, 8), 3)
    assert (config.budget.seconds, config.budget.steps) == (60, None)
    assert config.training.lr == 1e-3
    assert config.training.precision == "32"  # YAML reads a number


@pytest.mark.parametrize(
    ("pair", "message"),
    [("training", "key.sub=value"), ("=3", "key.sub=value"), ("seed.x=1", "override 'seed.x=1'"), ("a=[1", "not YAML")],
)
def test_malformed_override_is_rejected(tmp_path, pair, message):
    path = tmp_path / "run.yaml"
    path.write_text(FILE + "seed: 1\n")
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        load_config(path, [pair], TrainConfig)


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- a\n- b", "holds a list"), ("\xff\xfe", "unknown|holds a str")]
)
def test_invalid_file_is_named(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path, [], TrainConfig)
    assert str(path) in str(error.value)


def test_missing_file_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.yaml", [], TrainConfig)


def test_resolved_configuration_round_trip(data):
    from small_runs import study_config, train_config

    for config in (train_config(data), study_config(data)):
        assert parse(config.model_dump(mode="json"), type(config)) == config


def test_run_id_depends_on_result_relevant_options_only():
    config = parse(MINIMAL, TrainConfig)
    run_id = config.run_id("data")
    irrelevant = {
        "train_fraction": 1.0,
        "name": "other",
        "arm": {"method": "unet", "title": "x"},
        "training": {"num_threads": 2, "checkpoint_every": 9},
    }
    assert parse({**MINIMAL, **irrelevant}, TrainConfig).run_id("data") == run_id
    others = [
        {"seed": 1},
        {"fold": 1},
        {"train_fraction": 0.5},
        {"train_count": 1},
        {"budget": {"steps": 11}},
        {"training": {"lr": 0.1}},
    ]
    others += [{"arm": {"method": "unet", "widths": [8, 8]}}]
    run_ids = {parse({**MINIMAL, **change}, TrainConfig).run_id("data") for change in others}
    assert len(run_ids | {run_id, config.run_id("other data")}) == len(others) + 2


@pytest.mark.parametrize("method", METHODS)
def test_registered_methods_match_their_name_and_describe_their_keys(method):
    arm = METHODS[method]
    required = {name: "somewhere" for name, field in arm.model_fields.items() if field.is_required()}
    assert arm.model_validate({**required, "method": method}).method == method
    assert all(field.description for field in arm.model_fields.values())


def test_arm_overrides_lr_and_precision():
    raw = {**MINIMAL, "training": {"lr": 1e-3, "precision": "bf16"}}
    arm = raw.pop("arm")
    shared = parse({**raw, "arm": arm}, TrainConfig, source="a test").loop
    assert (shared.lr, shared.precision) == (1e-3, "bf16")
    own = parse({**raw, "arm": {**arm, "lr": 1e-4, "precision": "32"}}, TrainConfig, source="a test").loop
    assert (own.lr, own.precision) == (1e-4, "32")
    assert own.batch_size == shared.batch_size


def test_train_fractions_default_to_none_if_counts_are_set():
    raw = {**MINIMAL, "arms": {"a": MINIMAL["arm"]}}
    raw.pop("arm")

    def sizes(**keys):
        return [str(size) for size in parse({**raw, **keys}, StudyConfig).train_sizes]

    assert sizes() == ["all"]
    assert sizes(train_counts=[1, 8]) == ["1 case", "8 cases"]
    assert sizes(train_counts=[1], train_fractions=[0.5, 1]) == ["1 case", "0.5", "all"]
    assert "'train_counts' contains a value twice" in error_of({**raw, "train_counts": [1, 1]}, StudyConfig)
    assert "'train_fractions.0' must be at most 1" in error_of({**raw, "train_fractions": [8]}, StudyConfig)
    assert "needs a value in 'train_fractions' or 'train_counts'" in error_of(
        {**raw, "train_fractions": []}, StudyConfig
    )


def test_unknown_key_of_an_optional_arm_is_named():
    arm = {"method": "lifted", "network": "packaged:efficientnet_lite0", "plann": {}}
    content = {"pretraining": {"method": "mae"}, "arm": arm, "dataset": {"path": "x"}, "budget": {"steps": 3}}
    with pytest.raises(ConfigError, match=r"unknown key 'arm\.plann'; did you mean 'plan'"):
        parse(content, PretrainConfig, source="pretrain.yaml")
