"""What learns and what does not; what a frozen network saw is kept; slice weights come out as a person can use them."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.data.datasets.splits import balanced_weights
from dimlift.errors import CannotLift, ConfigError
from dimlift.inference.predict_files import predict
from dimlift.methods.registry import METHODS
from dimlift.methods.slice_classifier.lora import add_adapters
from dimlift.methods.slice_classifier.slice_features import SliceVectors
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train

SMALL = {"method": "slice_classifier", "network": "timm:test_resnet", "pretrained": False, "width": 8}
TASK = Task("classification", 1, 2, (1.0, 1.0, 1.0), (6, 32, 32))


def built(task=TASK, **options):
    torch.manual_seed(0)
    return METHODS["slice_classifier"].model_validate({**SMALL, **options}).build(task)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return VolumeBatch(torch.randn(2, 1, 6, 32, 32, generator=generator), torch.tensor([0, 1]), ("a", "b"))


@pytest.mark.parametrize("tune", ["none", "lora", "all"])
def test_only_what_is_to_learn_gets_a_gradient(tune):
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


def test_adapters_begin_as_the_network_was():
    plain, adapted = built(), built(tune="lora")
    volume = batch().image
    with torch.no_grad():
        torch.testing.assert_close(adapted.model.eval().vectors(volume), plain.model.eval().vectors(volume))
    with pytest.raises(CannotLift, match="tune=none"):
        add_adapters(torch.nn.ReLU(), 2)


def test_a_frozen_network_looks_once(tmp_path, monkeypatch):
    method = built().eval()
    asked = []
    vectors = method.model.vectors
    monkeypatch.setattr(method.model, "vectors", lambda volume: asked.append(len(volume)) or vectors(volume))
    method.remember(tmp_path)
    first = method.loss(batch())
    torch.testing.assert_close(method.loss(batch()), first)
    assert len(asked) == 2  # two volumes, whatever the steps
    again = SliceVectors(method.model, tmp_path)
    torch.testing.assert_close(again(batch().image[0]), vectors(batch().image[:1])[0])
    assert len(asked) == 2
    assert again.timed(batch().image[0])[1] > 0  # a hit costs a budget what the look did
    again(batch(seed=1).image[0])
    assert len(asked) == 3
    with torch.no_grad():
        next(method.model.encoder.parameters()).mul_(2)
    SliceVectors(method.model, tmp_path)(batch().image[0])
    assert len(asked) == 4  # other weights see other things


def test_what_was_seen_at_one_size_is_not_taken_for_another(tmp_path):
    """Arms of a study share the cache, and may differ in nothing but how large slices are shown."""
    volume, plain, enlarged = batch().image[0], built().eval().model, built(enlarge=2).eval().model
    SliceVectors(plain, tmp_path)(volume)
    torch.testing.assert_close(SliceVectors(enlarged, tmp_path)(volume), enlarged.vectors(volume[None])[0])


def test_kept_vectors_give_the_loss_of_the_whole_network():
    method = built().eval()
    kept = method.loss(batch())
    method.remembers = False
    torch.testing.assert_close(method.loss(batch()), kept)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="classification or regression"):
        built(Task("segmentation", 1, 2, None, (6, 32, 32)))
    with pytest.raises(ValueError, match="tune=all"):
        built(freeze_encoder_until=0.5)


def test_balanced_weights_make_classes_count_alike():
    class Labelled:
        def __init__(self, label):
            self.label = label

    weights = balanced_weights([Labelled(0)] * 6 + [Labelled(1)] * 2, 2)
    assert weights == pytest.approx((8 / 12, 8 / 4))
    assert 6 * weights[0] == pytest.approx(2 * weights[1])


@pytest.fixture
def marked(tmp_path):
    """Volumes that lie flipped in their files; one slice of each is marked, brightly or darkly."""
    rows = ["image,label,group"]
    for number in range(6):
        array = np.random.default_rng(number).normal(0, 0.1, (16, 16, 7)).astype(np.float32)
        array[4:12, 4:12, 5] += 3 if number % 2 else -3
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, -3.0, 1.0])), tmp_path / f"case_{number}.nii.gz")
        rows.append(f"case_{number}.nii.gz,{'bright' if number % 2 else 'dark'},p{number}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("tune", ["none", "lora"])
def test_it_trains_and_predict_shows_the_slices(marked, tmp_path, tune):
    raw = {
        "dataset": {"path": str(marked / "table.csv")},
        "task": "classification",
        "split": {"folds": 3},
        "arm": {**SMALL, "tune": tune, "pooling": "attention"},
        "budget": {"steps": 3},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu", "class_weights": "balanced"},
    }
    run = tmp_path / "run"
    train(parse(raw, TrainConfig), run)
    kept = list((run / "cache" / "slices").glob("*.safetensors"))
    assert len(kept) == (4 if tune == "none" else 0)
    state = load_file(run / "weights" / "model.safetensors")
    assert any("lora_" in name for name in state) == (tune == "lora")
    (written,) = predict(run, [marked / "case_0.nii.gz"], tmp_path / "answers")
    slices = json.loads(written.read_text())["case_0"]["slices"]
    assert slices["axis"] == 2
    assert len(slices["weights"]) == 7
    assert sum(slices["weights"]) == pytest.approx(1)
    assert slices["most"] == int(np.argmax(slices["weights"]))


def test_a_frozen_network_and_hidden_channels_do_not_go_together(marked, tmp_path):
    raw = {
        "dataset": {"path": str(marked / "table.csv")},
        "task": "classification",
        "split": {"folds": 3},
        "arm": SMALL,
        "budget": {"steps": 1},
        "training": {"sequence_dropout": 0.5, "threads": 1, "device": "cpu"},
    }
    with pytest.raises(ConfigError, match="tune=lora"):
        train(parse(raw, TrainConfig), tmp_path / "run")


def test_weights_are_told_in_the_order_of_the_file(marked, tmp_path):
    """The file runs downwards, the sample upwards: the slice that was weighed most must be found in the file."""
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.preprocessing.preprocessing import Preprocessing
    from dimlift.inference.predictor import Trained

    dataset = open_dataset(marked / "table.csv", task="classification")
    preprocessing = Preprocessing.fit(dataset, dataset.cases)

    class Brightest(torch.nn.Module):
        def slice_weights(self, image):
            return image[0].abs().amax(dim=(1, 2)).mul(20).softmax(0)

    arm = METHODS["slice_classifier"].model_validate(SMALL)
    trained = Trained(arm, TASK, preprocessing, Brightest())
    axis, weights = trained.slice_weights(preprocessing.read(dataset.cases[1]))
    assert (axis, int(np.argmax(weights))) == (2, 5)
