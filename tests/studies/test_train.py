"""Complete small runs: outputs, reproducibility, resuming, and rejected input."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.splits import balanced_class_weights
from dimlift.data.preprocessing.sample import IGNORED
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import DataError, RunError
from dimlift.inference.modality.patches import auto_patch_size
from dimlift.records.record import RunRecord
from dimlift.studies.split import split_cases
from dimlift.studies.train import train
from small_runs import train_config, write_case


def weights(run):
    return load_file(run / "weights" / "model.safetensors")


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(train_config(data), out)
    return out


def test_train_writes_weights_record_predictions_and_config(run):
    (record,) = [RunRecord.load(path) for path in (run / "records").glob("*.json")]
    assert (record.status, record.steps, record.arm) == ("finished", 4, "train")
    assert {score.metric for score in record.scores} >= {"dice", "hd95_mm", "nsd"}
    assert len({score.case for score in record.scores}) == 2
    assert len(list((run / "predictions").glob("*.nii.gz"))) == 2
    assert record.seconds > 0
    assert record.peak_bytes > 50e6
    assert record.versions["torch"]
    assert not (run / "checkpoints").exists()
    card = json.loads((run / "weights" / "model.json").read_text())
    assert card["arm"]["widths"] == [4, 8]
    assert card["labels"] == {"1": 1, "2": 2}
    assert (run / "config.yaml").is_file()


def test_train_warns_about_intensity_scale(tmp_path):
    for number in range(6):
        write_case(tmp_path / "data", f"case_{number}", number, contrast=0.01)
    config, events = train_config(tmp_path / "data", preprocessing={"modality": "none"}), []
    record = train(config, tmp_path / "run", progress=events.append)
    (warning,) = [event.message for event in events if event.message.startswith("warning")]
    (note,) = record.extra["notes"]
    assert warning == f"warning: {note}"
    assert "preprocessing.modality=mr" in note


def test_same_seed_gives_same_weights_and_scores(run, data, tmp_path):
    first = RunRecord.load(next((run / "records").iterdir()))
    second = train(train_config(data), tmp_path)
    assert_same(weights(run), weights(tmp_path))
    assert second.scores == first.scores
    assert second.run_id == first.run_id


def test_other_seed_gives_other_weights(run, data, tmp_path):
    train(train_config(data, seed=1), tmp_path)
    assert any(not torch.equal(a, b) for a, b in zip(weights(run).values(), weights(tmp_path).values(), strict=True))


def test_finished_run_is_skipped(run, data):
    before = (run / "weights" / "model.safetensors").stat().st_mtime_ns
    events = []
    train(train_config(data), run, events.append)
    assert "skip" in {event.stage for event in events}
    assert (run / "weights" / "model.safetensors").stat().st_mtime_ns == before


def test_interrupted_run_resumes_to_same_weights(run, data, tmp_path, monkeypatch):
    config = train_config(data, training={**train_config(data).training.model_dump(), "checkpoint_every": 1e-9})
    sampled = PatchSampler.batch

    def interrupted(self, step, *others):
        if step == 2:
            raise KeyboardInterrupt
        return sampled(self, step, *others)

    monkeypatch.setattr(PatchSampler, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path)
    assert list((tmp_path / "checkpoints").glob("*.json"))
    monkeypatch.setattr(PatchSampler, "batch", sampled)
    train(config, tmp_path)
    assert_same(weights(run), weights(tmp_path))


def test_train_rejects_folder_of_another_run(run, data):
    with pytest.raises(RunError, match=r"holds another run \(it differs in seed\); choose another folder"):
        train(train_config(data, seed=9), run)


def test_train_writes_nothing_for_damaged_data(data, tmp_path):
    folder = tmp_path / "data"
    for number in range(3):
        write_case(folder, f"case_{number}", number)
    broken = folder / "images" / "case_1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"case_1\.nii\.gz"):
        train(train_config(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_rejects_single_case(tmp_path):
    write_case(tmp_path / "data", "only", 0)
    with pytest.raises(DataError, match=r"two groups|one case"):
        train(train_config(tmp_path / "data"), tmp_path / "run")


def test_train_names_absent_class(tmp_path):
    for number in range(6):
        write_case(tmp_path / "data", f"case_{number}", number, classes=2 if number == 0 else 1)
    folds = [train_config(tmp_path / "data", fold=fold) for fold in range(3)]
    dataset = open_dataset(tmp_path / "data")
    (config,) = [c for c in folds if "case_0" in {case.name for case in split_cases(dataset, c)[1]}]
    with pytest.raises(DataError, match=r"'2' never occurs in the 4 training cases"):
        train(config, tmp_path / "run")


def test_train_rejects_oversized_patch(data, tmp_path):
    config = train_config(data, training={"patch_size": [64, 64, 64], "device": "cpu"})
    with pytest.raises(DataError, match=r"training\.patch_size=auto"):
        train(config, tmp_path)


def test_record_contains_validation_scores_of_ema_weights(data, tmp_path):
    training = {"patch_size": [8, 8, 8], "val_interval": 0.5, "ema_decay": 0.9, "device": "cpu", "num_threads": 1}
    record = train(train_config(data, training=training), tmp_path)
    assert [point["step"] for point in record.history if "dice" in point] == [2, 4]
    final = np.mean([s.value for s in record.scores if s.metric == "dice"])
    assert record.history[-1]["dice"] == pytest.approx(final)


@pytest.mark.parametrize(
    ("shapes", "patch"),
    [
        ([(36, 50, 35), (36, 52, 35), (30, 50, 40)], (40, 56, 40)),
        ([(8, 8, 8)], (8, 8, 8)),
        ([(400, 512, 512)], (128, 128, 128)),
        ([(20, 512, 512)], (24, 288, 296)),
    ],
)
def test_auto_patch_covers_median_volume_within_limit(shapes, patch):
    assert auto_patch_size(shapes) == patch
    assert np.prod(auto_patch_size(shapes)) <= 128**3


def test_balanced_class_weights_change_loss(data, tmp_path):
    unweighted = train(train_config(data), tmp_path / "plain")
    training = {**train_config(data).training.model_dump(), "class_weights": "balanced"}
    weighted = train(train_config(data, training=training), tmp_path / "weighted")
    assert weighted.history[0]["loss"] != unweighted.history[0]["loss"]


def test_balanced_class_weights_count_voxels_or_cases():
    def sample(label):
        return SimpleNamespace(label=label)

    voxels = [sample(np.array([0, 0, 0, 1])), sample(np.array([0, 0, 0, 0, 2, IGNORED]))]
    weights = balanced_class_weights(voxels, 3)
    assert weights == pytest.approx((9 / 21, 3.0, 3.0))
    assert balanced_class_weights([sample(0), sample(0), sample(1)], 2) == pytest.approx((0.75, 1.5))
