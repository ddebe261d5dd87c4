"""What holds for every method of the table: it trains, it is saved, and what is read back answers the same."""

import itertools
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from dimlift.backbones.open_network import open_network
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError, UnknownName
from dimlift.inference.predictor import Trained
from dimlift.lookup import pick
from dimlift.methods.frozen_features.config import TIMES
from dimlift.methods.registry import METHODS
from dimlift.studies.run import Places, read_material, train_cell
from small_runs import train_config

SMALL = {
    "unet": {"widths": [4, 8]},
    "nnunet": {"widths": [4, 8, 8]},
    "swin_unetr": {"width": 12},
    "unetr": {"width": 4, "hidden": 24, "heads": 2},
    "resnet": {"layers": 10, "widths": [8, 8, 8, 8]},
    "convnext3d": {"network": "timm:test_convnext", "pretrained": False, "width": 4, "stages": 2},
    "slices": {"network": "timm:test_resnet", "pretrained": False, "width": 8},
    "lifted": {"network": "timm:test_resnet", "pretrained": False, "width": 8},
    "transseg": {"network": "timm:test_resnet", "pretrained": False, "width": 8, "window": 3, "slices": 2},
    "slice_classifier": {"network": "timm:test_resnet", "pretrained": False, "width": 8},
    "simple3d": {"network": "timm:test_vit", "pretrained": False, "cell": [4, 4, 4]},
    "retrospect": {"network": "timm:test_resnet", "pretrained": False, "width": 8, "photos": "photos"},
    "simple3d_retrospect": {"network": "timm:test_vit", "pretrained": False, "cell": [4, 4, 4], "photos": "photos"},
    "pretrained_3d": {"widths": [4, 8], "blocks": [1, 1]},
    "external": {"external": "elsewhere"},
    "medical_transformer": {
        "network": "timm:test_resnet",
        "pretrained": False,
        "width": 8,
        "layer_width": 8,
        "layers": 1,
        "heads": 2,
    },
    "tubevit": {"network": "timm:test_vit", "pretrained": False, "tubes": [{"kernel": [4, 4, 4], "stride": [4, 4, 4]}]},
    "borrowed": {
        "network": "random:timm:test_resnet",
        "stages": None,
        "planes": ["depth"],
        "components": 8,
        "widths": [4, 8],
        "enlarge": 1,
    },
}
"""The smallest arm of each method; a new method needs its line here."""

OF_VOLUMES = {"simple3d", "simple3d_retrospect", "resnet", "slice_classifier", "tubevit"}
"""Methods that give one answer for a volume, and none for a voxel."""

SEGMENTING = [name for name in METHODS if name not in OF_VOLUMES | {"swin_unetr", "retrospect", "external"}]
"""`retrospect` wants photographs (test_retrospect). Swin UNETR pads every window to 32 x 32 x 64 voxels and would take
minutes here (test_systems)."""

TRAINING = {"patch_size": [8, 8, 8], "batch_size": 1, "threads": 1, "device": "cpu"}


def places(folder) -> Places:
    return Places(folder, folder / "weights", folder / "predictions", folder / "checkpoints", folder / "cache")


def arm_of(method: str, **options):
    return METHODS[method].model_validate({"method": method, **SMALL[method], **options})


@pytest.mark.parametrize("method", SEGMENTING)
def test_a_method_trains_and_answers_the_same_after_reading_it_back(method, data, tmp_path):
    config = train_config(data, arm={"method": method, **SMALL[method]}, budget={"steps": 2}, training=TRAINING)
    material = read_material(config, open_dataset(data))
    trained, result, _ = train_cell(config, material, places(tmp_path))
    assert result.steps == 2
    expected = [trained.answer(sample) for sample in material.samples[:2]]
    trained.save(tmp_path / "weights")
    torch.manual_seed(123)  # what is read back must not depend on what was drawn
    again = Trained.load(tmp_path / "weights")
    for sample, answer in zip(material.samples, expected, strict=False):
        assert answer.shape == sample.image.shape[1:]
        np.testing.assert_array_equal(again.answer(sample), answer)


@pytest.mark.parametrize("method", SEGMENTING)
def test_a_method_starts_from_the_seed_and_learns_every_weight_it_hands_out(method, data, tmp_path):
    config = train_config(data, arm={"method": method, **SMALL[method]}, budget={"steps": 1}, training=TRAINING)
    material = read_material(config, open_dataset(data))
    one, other = (train_cell(config, material, places(tmp_path / name))[0].method for name in ("one", "other"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    handed = [id(p) for group in one.parameter_groups(1.0) for p in group["params"]]
    assert len(handed) == len(set(handed))
    assert set(handed) == {id(p) for p in one.parameters()}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_cannot_classify_says_so(method):
    task = Task("classification", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))
    if method in OF_VOLUMES | {"slices", "lifted", "retrospect", "convnext3d", "medical_transformer"}:
        network = arm_of(method).build(task)
        assert network(torch.randn(2, 1, 8, 16, 16)).shape == (2, 3)
    else:
        with pytest.raises(ConfigError, match=f"'{method}' does segmentation only"):
            arm_of(method).build(task)


def test_a_method_that_cannot_segment_says_so():
    task = Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))
    for method in OF_VOLUMES:
        with pytest.raises(ConfigError, match=f"'{method}' gives one answer for a volume"):
            arm_of(method).build(task)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownName, match="unet"):
        pick("method", METHODS, "une")


@pytest.mark.parametrize("looks", [1, 2])
def test_cached_features_cost_as_much_of_the_budget_as_new_ones(data, tmp_path, looks):
    config = train_config(
        data, arm={"method": "borrowed", "looks": looks, **SMALL["borrowed"]}, budget={"steps": 1}, training=TRAINING
    )
    material = read_material(config, open_dataset(data))
    arm = config.arm
    first, maps = arm.prepare(arm.build(material.task), material.samples, tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    second, again = arm.prepare(arm.build(material.task), material.samples, tmp_path)
    assert files == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(files) == len(material.samples) * looks
    recorded = sum(json.loads((tmp_path / TIMES).read_text()).values())
    assert min(first, second) > recorded > 0
    assert all(len(alternatives) == looks for alternatives in maps)
    for one, two in zip(itertools.chain(*maps), itertools.chain(*again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_test_volumes_share_the_cache_of_the_study(data, tmp_path):
    config = train_config(data, arm={"method": "borrowed", **SMALL["borrowed"]}, budget={"steps": 1}, training=TRAINING)
    material = read_material(config, open_dataset(data))
    trained, _, _ = train_cell(config, material, places(tmp_path))
    sample = trained.preprocessing.read_image(material.test[0].images)
    before = set(places(tmp_path).cache.glob("*.safetensors"))
    first = trained.answer(sample)
    (new,) = set(places(tmp_path).cache.glob("*.safetensors")) - before
    written = new.stat().st_mtime_ns
    assert (trained.answer(sample) == first).all()
    assert new.stat().st_mtime_ns == written
    trained.cache = None  # as a predicting process has it
    assert (trained.answer(sample) == first).all()


def test_the_seed_of_a_run_draws_the_random_network_features_come_from(data):
    tasks = [Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8), seed=seed) for seed in (0, 1)]
    digests = {arm_of("borrowed").build(task).extractor.digest for task in tasks}
    assert len(digests) == 2


@pytest.mark.parametrize("method", ["slices", "lifted"])
def test_a_control_with_random_weights_has_none_of_the_pretrained_ones(method):
    """The packaged network lies on this disk; a control that read it all the same would prove nothing."""
    task = Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))

    def kernels(pretrained: bool, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        arm = arm_of(method, network="packaged:efficientnet_lite0", pretrained=pretrained)
        state = arm.build(task).state_dict()
        kept = [weight.flatten() for name, weight in state.items() if name.endswith("conv_pw.weight")]
        return torch.cat(kept)

    trained = kernels(True, 0)
    assert torch.equal(trained, kernels(True, 1))
    for seed in (0, 1):
        drawn = kernels(False, seed)
        assert drawn.shape == trained.shape
        assert abs(float(torch.corrcoef(torch.stack([drawn, trained]))[0, 1])) < 0.05
    assert not torch.equal(kernels(False, 0), kernels(False, 1))


@pytest.mark.parametrize("stem", ["cubes", "projection", "group"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_voxel_tokens_learn_one_answer_for_a_volume(stem, kind):
    task = Task(kind, 2, 3 if kind == "classification" else 1, (1.0, 1.0, 1.0), (8, 8, 8))
    method = arm_of("simple3d", stem=stem, freeze_encoder_until=0.5).build(task)
    image, label = torch.randn(2, 2, 8, 9, 10), torch.tensor([0, 1])
    label = label if kind == "classification" else label.float()
    for progress, frozen in ((0.0, True), (0.9, False)):
        method.train().set_progress(progress)
        method.zero_grad()
        method.loss(VolumeBatch(image, label, ("a", "b"))).backward()
        without = {name for name, p in method.named_parameters() if p.grad is None}
        assert without == ({name for name, _ in method.named_parameters() if ".encoder." in name} if frozen else set())


@pytest.mark.parametrize("method", ["slices", "lifted", "transseg", "simple3d"])
def test_a_file_of_weights_needs_no_weights_of_the_source_beside_it(method, tmp_path):
    """Nobody has timm's test networks' weights on disk; the file must do."""
    torch.manual_seed(1)
    network = open_network("timm:test_vit")[0]
    safetensors.torch.save_file(network.state_dict(), tmp_path / "vit.safetensors")
    options = {"network": "timm:test_vit", "pretrained": True, "weights": str(tmp_path / "vit.safetensors")}
    kind = "classification" if method == "simple3d" else "segmentation"
    built = (
        METHODS[method]
        .model_validate({"method": method, **options})
        .build(Task(kind, 3, 2, None, (3, 160, 160)), fresh=True)
    )
    state = built.state_dict()
    (name,) = (key for key in state if key.endswith("blocks.5.mlp.fc1.weight"))
    torch.testing.assert_close(state[name], network.blocks[5].mlp.fc1.weight.data)
