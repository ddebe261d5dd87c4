"""Slice classifier: trained parameters, cached features of a frozen network, slice weights in file order."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.splits import balanced_class_weights
from dimlift.errors import ConfigError, LiftError
from dimlift.inference.predict_files import predict
from dimlift.methods.method import Method
from dimlift.methods.registry import METHODS
from dimlift.methods.slice_classifier.lora import add_adapters
from dimlift.methods.slice_classifier.slice_features import SliceFeatureCache
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train

SMALL = {"method": "slice_classifier", "network": "timm:test_resnet", "pretrained": False, "embed_dim": 8}
TASK = TaskSpec("classification", 1, 2, (1.0, 1.0, 1.0), (6, 32, 32))


def built(task=TASK, **options):
    torch.manual_seed(0)
    return METHODS["slice_classifier"].model_validate({**SMALL, **options}).build(task)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return VolumeBatch(torch.randn(2, 1, 6, 32, 32, generator=generator), torch.tensor([0, 1]), ("a", "b"))


@pytest.mark.parametrize("tune", ["none", "lora", "all"])
def test_slice_classifier_trains_selected_parameters(tune):
    method = built(tune=tune)
    method.train()
    statistics = {n: b.clone() for n, b in method.model.encoder.named_buffers() if "running" in n}
    method.loss(batch()).backward()
    encoder = dict(method.model.encoder.named_parameters())
    moved = {name for name, parameter in encoder.items() if parameter.grad is not None}
    if tune == "none":
        assert not moved
    elif tune == "lora":
        assert moved
        assert all("lora_" in name for name in moved)
    else:
        assert any(name.endswith("weight") and encoder[name].ndim == 4 for name in moved)
    assert method.model.head[-1].weight.grad is not None
    same = [torch.equal(b, statistics[n]) for n, b in method.model.encoder.named_buffers() if "running" in n]
    assert all(same) if tune != "all" else not all(same)


def test_adapters_start_without_effect():
    plain, adapted = built(), built(tune="lora")
    volume = batch().image
    with torch.no_grad():
        torch.testing.assert_close(
            adapted.model.eval().slice_features(volume), plain.model.eval().slice_features(volume)
        )
    with pytest.raises(LiftError, match="tune=none"):
        add_adapters(torch.nn.ReLU(), 2)


def test_frozen_network_encodes_each_volume_once(tmp_path, monkeypatch):
    method = built().eval()
    calls = []
    encode = method.model.slice_features
    monkeypatch.setattr(method.model, "slice_features", lambda volume: calls.append(len(volume)) or encode(volume))
    method.cache_features(tmp_path)
    first = method.loss(batch())
    torch.testing.assert_close(method.loss(batch()), first)
    assert len(calls) == 2  # two volumes, regardless of the number of steps
    again = SliceFeatureCache(method.model, tmp_path)
    torch.testing.assert_close(again(batch().image[0]), encode(batch().image[:1])[0])
    assert len(calls) == 2
    assert again.timed(batch().image[0])[1] > 0  # a hit uses as much of the budget as the extraction
    again(batch(seed=1).image[0])
    assert len(calls) == 3
    with torch.no_grad():
        next(method.model.encoder.parameters()).mul_(2)
    SliceFeatureCache(method.model, tmp_path)(batch().image[0])
    assert len(calls) == 4  # other weights, other features


def test_slice_feature_cache_depends_on_upsampling(tmp_path):
    """Arms of a study share the cache and may differ in the slice size only."""
    volume, plain, upsampled = batch().image[0], built().eval().model, built(upsample=2).eval().model
    SliceFeatureCache(plain, tmp_path)(volume)
    torch.testing.assert_close(
        SliceFeatureCache(upsampled, tmp_path)(volume), upsampled.slice_features(volume[None])[0]
    )


def test_cached_features_keep_the_loss():
    method = built().eval()
    kept = method.loss(batch())
    method.caches_features = False
    torch.testing.assert_close(method.loss(batch()), kept)


def test_slice_classifier_rejects_segmentation_and_freezing_of_adapters():
    with pytest.raises(ConfigError, match="classification or regression"):
        built(TaskSpec("segmentation", 1, 2, None, (6, 32, 32)))
    with pytest.raises(ValueError, match="tune=all"):
        built(freeze_encoder_fraction=0.5)


def test_balanced_class_weights():
    class Labelled:
        def __init__(self, label):
            self.label = label

    weights = balanced_class_weights([Labelled(0)] * 6 + [Labelled(1)] * 2, 2)
    assert weights == pytest.approx((8 / 12, 8 / 4))
    assert 6 * weights[0] == pytest.approx(2 * weights[1])


@pytest.fixture
def marked(tmp_path):
    """Volumes whose files run downwards; one slice of each is bright or dark."""
    rows = ["image,label,group"]
    for number in range(6):
        array = np.random.default_rng(number).normal(0, 0.1, (16, 16, 7)).astype(np.float32)
        array[4:12, 4:12, 5] += 3 if number % 2 else -3
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, -3.0, 1.0])), tmp_path / f"case_{number}.nii.gz")
        rows.append(f"case_{number}.nii.gz,{'bright' if number % 2 else 'dark'},p{number}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("tune", ["none", "lora"])
def test_slice_classifier_trains_and_predicts_with_slice_weights(marked, tmp_path, tune):
    raw = {
        "dataset": {"path": str(marked / "table.csv")},
        "task": "classification",
        "split": {"folds": 3},
        "arm": {**SMALL, "tune": tune, "pooling": "attention"},
        "budget": {"steps": 3},
        "training": {"batch_size": 2, "num_threads": 1, "device": "cpu", "class_weights": "balanced"},
    }
    run = tmp_path / "run"
    train(parse(raw, TrainConfig), run)
    kept = list((run / "cache" / "slices").glob("*.safetensors"))
    assert len(kept) == (4 if tune == "none" else 0)
    state = load_file(run / "weights" / "model.safetensors")
    assert any("lora_" in name for name in state) == (tune == "lora")
    written, _ = predict(run, [marked / "case_0.nii.gz"], tmp_path / "predictions")
    slices = json.loads(written.read_text())["case_0"]["slices"]
    assert slices["axis"] == 2
    assert len(slices["weights"]) == 7
    assert sum(slices["weights"]) == pytest.approx(1)
    assert slices["most"] == int(np.argmax(slices["weights"]))


def test_frozen_network_rejects_channel_dropout(marked, tmp_path):
    raw = {
        "dataset": {"path": str(marked / "table.csv")},
        "task": "classification",
        "split": {"folds": 3},
        "arm": SMALL,
        "budget": {"steps": 1},
        "training": {"channel_dropout": 0.5, "num_threads": 1, "device": "cpu"},
    }
    with pytest.raises(ConfigError, match="tune=lora"):
        train(parse(raw, TrainConfig), tmp_path / "run")


def test_slice_weights_are_in_file_order(marked, tmp_path):
    """The file runs downwards and the sample upwards."""
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.preprocessing.preprocessing import Preprocessing
    from dimlift.inference.slice_weights import file_slice_weights

    dataset = open_dataset(marked / "table.csv", task="classification")
    preprocessing = Preprocessing.fit(dataset, dataset.cases)

    class Brightest(Method):
        def slice_weights(self, image):
            return image[0].abs().amax(dim=(1, 2)).mul(20).softmax(0)

    sample = preprocessing.read(dataset.cases[1])
    for crop in (sample.image.shape[1:], (4, *sample.image.shape[2:])):
        axis, weights = file_slice_weights(Brightest(), sample, crop)
        assert (axis, int(np.argmax(weights))) == (2, 5)
        assert sum(weights) == pytest.approx(1)
