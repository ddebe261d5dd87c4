"""Registered methods in runs: they train, and predict the same after saving and loading."""

import itertools
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from dimlift.backbones.factory import create_backbone
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError, UnknownNameError
from dimlift.inference.predictor import Predictor
from dimlift.lookup import pick
from dimlift.methods.frozen_features.config import TIMES_NAME
from dimlift.methods.registry import METHODS, methods_for
from dimlift.studies.run import RunPaths, load_run_data, train_run
from small_methods import SMALL, VOLUME_LABEL_METHODS, small_arm
from small_runs import train_config

SEGMENTING = [
    name
    for name in methods_for("volumes")
    if name not in VOLUME_LABEL_METHODS | {"swin_unetr", "image_replay", "external"}
]
"""`image_replay` needs images (test_image_replay_runs). Swin UNETR pads windows to 32 x 32 x 64 voxels and would
take minutes here (test_systems)."""

TRAINING = {"patch_size": [8, 8, 8], "batch_size": 1, "num_threads": 1, "device": "cpu"}


def run_paths(folder) -> RunPaths:
    return RunPaths(folder, folder / "weights", folder / "predictions", folder / "checkpoints", folder / "cache")


@pytest.mark.parametrize("method", SEGMENTING)
def test_method_predicts_the_same_after_loading(method, data, tmp_path):
    config = train_config(data, arm={"method": method, **SMALL[method]}, budget={"steps": 2}, training=TRAINING)
    data_of_run = load_run_data(config, open_dataset(data))
    trained, result, _ = train_run(config, data_of_run, run_paths(tmp_path))
    assert result.steps == 2
    expected = [trained.predict(sample) for sample in data_of_run.samples[:2]]
    trained.save(tmp_path / "weights")
    torch.manual_seed(123)  # loading must not depend on the global generator
    again = Predictor.load(tmp_path / "weights")
    for sample, labels in zip(data_of_run.samples, expected, strict=False):
        assert labels.shape == sample.image.shape[1:]
        np.testing.assert_array_equal(again.predict(sample), labels)


@pytest.mark.parametrize("method", SEGMENTING)
def test_method_is_reproducible_and_trains_every_weight(method, data, tmp_path):
    config = train_config(data, arm={"method": method, **SMALL[method]}, budget={"steps": 1}, training=TRAINING)
    data_of_run = load_run_data(config, open_dataset(data))
    one, other = (train_run(config, data_of_run, run_paths(tmp_path / name))[0].method for name in ("one", "other"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    ids = [id(p) for group in one.param_groups(1.0) for p in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in one.parameters()}


@pytest.mark.parametrize("method", methods_for("volumes"))
def test_method_classifies_or_rejects_classification(method):
    task = TaskSpec("classification", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))
    if method in VOLUME_LABEL_METHODS | {"slicewise", "lifted", "image_replay", "convnext3d", "medical_transformer"}:
        network = small_arm(method).build(task)
        assert network(torch.randn(2, 1, 8, 16, 16)).shape == (2, 3)
    else:
        with pytest.raises(ConfigError, match=f"'{method}' supports segmentation only"):
            small_arm(method).build(task)


def test_classification_methods_reject_segmentation():
    task = TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))
    for method in VOLUME_LABEL_METHODS:
        with pytest.raises(ConfigError, match=f"'{method}' (has|predicts) one output per volume"):
            small_arm(method).build(task)


def test_pick_lists_known_methods():
    with pytest.raises(UnknownNameError, match="unet"):
        pick("method", METHODS, "une")


@pytest.mark.parametrize("feature_augmentations", [1, 2])
def test_cached_features_use_as_much_budget_as_new_ones(data, tmp_path, feature_augmentations):
    config = train_config(
        data,
        arm={"method": "frozen_features", "feature_augmentations": feature_augmentations, **SMALL["frozen_features"]},
        budget={"steps": 1},
        training=TRAINING,
    )
    data_of_run = load_run_data(config, open_dataset(data))
    arm = config.arm
    first, maps = arm.prepare(arm.build(data_of_run.task), data_of_run.samples, tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    second, again = arm.prepare(arm.build(data_of_run.task), data_of_run.samples, tmp_path)
    assert files == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(files) == len(data_of_run.samples) * feature_augmentations
    recorded = sum(json.loads((tmp_path / TIMES_NAME).read_text()).values())
    assert min(first, second) > recorded > 0
    assert all(len(alternatives) == feature_augmentations for alternatives in maps)
    for one, two in zip(itertools.chain(*maps), itertools.chain(*again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_features_of_test_volumes_are_cached(data, tmp_path):
    config = train_config(
        data, arm={"method": "frozen_features", **SMALL["frozen_features"]}, budget={"steps": 1}, training=TRAINING
    )
    data_of_run = load_run_data(config, open_dataset(data))
    trained, _, _ = train_run(config, data_of_run, run_paths(tmp_path))
    sample = trained.preprocessing.read_image(data_of_run.test[0].images)
    before = set(run_paths(tmp_path).cache.glob("*.safetensors"))
    first = trained.predict(sample)
    (new,) = set(run_paths(tmp_path).cache.glob("*.safetensors")) - before
    written = new.stat().st_mtime_ns
    assert (trained.predict(sample) == first).all()
    assert new.stat().st_mtime_ns == written
    trained.cache = None  # as in prediction
    assert (trained.predict(sample) == first).all()


def test_random_feature_network_depends_on_run_seed(data):
    tasks = [TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8), seed=seed) for seed in (0, 1)]
    digests = {small_arm("frozen_features").build(task).extractor.digest for task in tasks}
    assert len(digests) == 2


@pytest.mark.parametrize("method", ["slicewise", "lifted"])
def test_random_control_has_no_pretrained_weights(method):
    """The weights of the packaged network are on disk, so a control could load them by mistake."""
    task = TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))

    def kernels(pretrained: bool, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        arm = small_arm(method, network="packaged:efficientnet_lite0", pretrained=pretrained)
        state = arm.build(task).state_dict()
        kept = [weight.flatten() for name, weight in state.items() if name.endswith("conv_pw.weight")]
        return torch.cat(kept)

    trained = kernels(True, 0)
    assert torch.equal(trained, kernels(True, 1))
    for seed in (0, 1):
        random = kernels(False, seed)
        assert random.shape == trained.shape
        assert abs(float(torch.corrcoef(torch.stack([random, trained]))[0, 1])) < 0.05
    assert not torch.equal(kernels(False, 0), kernels(False, 1))


@pytest.mark.parametrize("tokenizer", ["cubes", "projection", "group"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_simple3d_trains_with_every_tokenizer(tokenizer, kind):
    task = TaskSpec(kind, 2, 3 if kind == "classification" else 1, (1.0, 1.0, 1.0), (8, 8, 8))
    method = small_arm("simple3d", tokenizer=tokenizer, freeze_encoder_fraction=0.5).build(task)
    image, label = torch.randn(2, 2, 8, 9, 10), torch.tensor([0, 1])
    label = label if kind == "classification" else label.float()
    for progress, frozen in ((0.0, True), (0.9, False)):
        method.train().on_progress(progress)
        method.zero_grad()
        method.loss(VolumeBatch(image, label, ("a", "b"))).backward()
        frozen_names = {name for name, p in method.named_parameters() if p.grad is None}
        assert frozen_names == (
            {name for name, _ in method.named_parameters() if ".encoder." in name} if frozen else set()
        )


@pytest.mark.parametrize("method", ["slicewise", "lifted", "transseg", "simple3d"])
def test_weights_file_replaces_weights_of_the_source(method, tmp_path):
    """The weights of timm's test networks are not on disk."""
    torch.manual_seed(1)
    network = create_backbone("timm:test_vit")[0]
    safetensors.torch.save_file(network.state_dict(), tmp_path / "vit.safetensors")
    options = {"network": "timm:test_vit", "pretrained": True, "weights": str(tmp_path / "vit.safetensors")}
    kind = "classification" if method == "simple3d" else "segmentation"
    built = (
        METHODS[method]
        .model_validate({"method": method, **options})
        .build(TaskSpec(kind, 3, 2, None, (3, 160, 160)), load_pretrained=True)
    )
    state = built.state_dict()
    (name,) = (key for key in state if key.endswith("blocks.5.mlp.fc1.weight"))
    torch.testing.assert_close(state[name], network.blocks[5].mlp.fc1.weight.data)
