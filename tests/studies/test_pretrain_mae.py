"""Masked autoencoding as a run: resumed bit by bit, taken by an arm, test cases refused, background refused."""

import pytest
import torch

from dimlift.errors import ConfigError, DataError
from dimlift.methods.mae.pretraining import MAEPretraining
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.train import train
from small_runs import train_config

LIFTED = {"method": "lifted", "network": "timm:test_resnet", "pretrained": False}


def raw(data, **changes):
    return {
        "pretraining": {"method": "mae", "block": [4, 4, 4]},
        "arm": LIFTED,
        "dataset": {"path": str(data)},
        "split": {"folds": 3},
        "budget": {"steps": 4},
        "training": {"patch_size": [8, 8, 8], "batch_size": 2, "num_threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("mae")
    messages = []
    record = pretrain(parse(raw(data), PretrainConfig), out, lambda event: messages.append(event.message))
    return out, record, messages


def test_run_states_blind_loss_and_kernel_energy(pretrained):
    _, record, messages = pretrained
    assert record.extra["blind_loss"] == pytest.approx(1, abs=0.05)
    energy = record.extra["kernel_energy"]
    assert energy["before"].keys() == energy["after"].keys() != set()
    assert all(shares == [0.0, 1.0, 0.0] for shares in energy["before"].values())
    assert any(shares != [0.0, 1.0, 0.0] for shares in energy["after"].values())
    assert record.extra["mask_reapplied_at_stages"]
    assert "mean of each masked block" in messages[-1]
    assert "kernel energy by depth tap, stage 0" in messages[-1]


def test_interrupted_run_is_resumed_bit_by_bit(data, pretrained, tmp_path, monkeypatch):
    config = parse(raw(data, training={**raw(data)["training"], "checkpoint_every": 1e-9}), PretrainConfig)
    batches = MAEPretraining.batches

    def interrupted(*arguments):
        seconds, batch_at = batches(*arguments)

        def batch(step):
            if step == 2:
                raise KeyboardInterrupt
            return batch_at(step)

        return seconds, batch

    monkeypatch.setattr(MAEPretraining, "batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "run")
    assert list((tmp_path / "run" / "checkpoints").glob("*.json"))
    monkeypatch.undo()
    resumed = pretrain(config, tmp_path / "run")
    state, _ = read_weights(tmp_path / "run" / "weights")
    straight, _ = read_weights(pretrained[0] / "weights")
    assert all(torch.equal(state[name], straight[name]) for name in straight)
    assert resumed.extra["reconstruction_loss"] == pretrained[1].extra["reconstruction_loss"]
    assert resumed.extra["kernel_energy"] == pretrained[1].extra["kernel_energy"]


def test_arm_starts_from_the_weights_folder(data, pretrained, tmp_path):
    arm = {**LIFTED, "init_from": str(pretrained[0] / "weights")}
    record = train(train_config(data, arm=arm, budget={"steps": 1}), tmp_path / "run")
    (note,) = [note for note in record.extra["notes"] if "start from" in note]
    assert "new:" in note  # the last layer has another number of channels


def test_test_case_in_the_pool_is_refused(data, tmp_path):
    pretrain(parse(raw(data, split=None, budget={"steps": 1}), PretrainConfig), tmp_path / "pretrained")
    arm = {**LIFTED, "init_from": str(tmp_path / "pretrained" / "weights")}
    with pytest.raises(DataError, match="used in the pretraining"):
        train(train_config(data, arm=arm), tmp_path / "run")


def test_patch_of_one_block_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="single block"):
        pretrain(parse(raw(data, pretraining={"method": "mae", "block": [8, 8, 8]}), PretrainConfig), tmp_path / "run")


def test_background_patches_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dimlift.data.sampling.patch_sampler.PatchSampler._crop_image",
        lambda self, number, start, grid: torch.zeros(1, *self.patch_size),
    )
    config = parse(raw(data, training={**raw(data)["training"], "augment": False}), PretrainConfig)
    with pytest.raises(DataError, match="single intensity"):
        pretrain(config, tmp_path / "run")
