"""VDT."""

import pytest
import torch
from PIL import Image

from dimlift.batch import ImageBatch
from dimlift.errors import ConfigError, DataError, RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.supervised.volumes import Supervised
from dimlift.methods.teachers.teacher import wrap_teacher
from dimlift.methods.vdt.method import VDT, images_to_volumes
from dimlift.models.classifier import Classifier
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig


def _model(depth_pool=(1, 1, 1, 1), num_classes=3):
    torch.manual_seed(0)
    plan = DepthPlan(depth_pool=depth_pool)
    return Classifier(
        lift("timm:test_resnet", plan, in_chans=1, features_only=True, certify=False), num_classes, dropout=0.0
    )


def test_images_to_volumes_converts_colours_to_slices():
    image = torch.rand(2, 3, 4, 5)
    volume = images_to_volumes(image, torch.tensor([[2, 0, 1], [0, 1, 2]]))
    assert volume.shape == (2, 1, 3, 4, 5)
    back = (volume[:, 0] * 57.63 + 114.495) / 255
    torch.testing.assert_close(back[0], image[0, [2, 0, 1]])
    torch.testing.assert_close(back[1], image[1])


def test_vdt_samples_all_orders_of_colours():
    seen = []

    class Student(torch.nn.Module):
        def forward(self, volume):
            seen.append(volume[:, 0, :, 0, 0].argsort(1))
            return volume.sum((1, 3, 4))

    image = torch.tensor([0.1, 0.5, 0.9])[None, :, None, None].expand(3000, 3, 1, 1)
    torch.manual_seed(0)
    batch = ImageBatch(image, torch.zeros(3000, dtype=torch.int64), ("a",) * 3000)
    VDT(Student()).loss(batch)
    orders, counts = seen[-1].unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 400  # 500 each
    VDT(Student(), shuffle_colours=False).loss(batch)
    assert len(seen[-1].unique(dim=0)) == 1


def test_vdt_weights_fit_the_network_with_depth_pooling():
    flat, reduced = _model(), _model((2, 2, 2, 2))
    reduced.load_state_dict(flat.state_dict())  # strict: the same names and shapes
    assert [tuple(m.shape[2:3]) for m in flat.eval().encoder(torch.rand(1, 1, 3, 32, 32))][-1] == (3,)
    assert reduced.eval().encoder(torch.rand(1, 1, 16, 32, 32))[-1].shape[2] < 3


def test_vdt_loss_with_a_teacher_is_soft_cross_entropy():
    torch.manual_seed(0)
    mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    teacher = wrap_teacher(torch.nn.Sequential(mean, torch.nn.Linear(3, 4)))
    batch = ImageBatch(torch.rand(2, 3, 32, 32), None, ("a", "b"))
    method = VDT(_model(num_classes=4), teacher)
    method.loss(batch).backward()
    assert all(name.startswith("model.") for name in method.state_dict())
    assert all(p.grad is None for p in teacher.frozen.network.parameters())
    soft = teacher.logits(batch.image).softmax(1)

    class Oracle(torch.nn.Module):
        def forward(self, volume):
            return soft.log()

    method.model = Oracle()
    entropy = -(soft * soft.log()).sum(1).mean()
    torch.testing.assert_close(method.loss(batch), entropy)  # the minimum
    with pytest.raises(RunError, match="no teacher"):
        VDT(_model()).loss(batch)


def test_vdt_label_smoothing_spreads_the_label():
    """A confident correct prediction has a larger loss with smoothing."""
    logits = torch.tensor([[5.0, 0.0, 0.0]])

    class Confident(torch.nn.Module):
        def forward(self, volume):
            return logits.expand(len(volume), -1)

    batch = ImageBatch(torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), ("a",) * 4)
    plain, smooth = (VDT(Confident(), label_smoothing=smoothing).loss(batch) for smoothing in (0.0, 0.1))
    target = torch.tensor([1 - 0.1 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    torch.testing.assert_close(smooth, -(target * logits.log_softmax(1)).sum())
    assert smooth > plain + 0.3


@pytest.mark.parametrize("stage", ["pretraining", "task"])
def test_num_frozen_layers_freezes_weights_and_statistics(stage):
    model = _model()
    if stage == "pretraining":
        method = VDT(model, num_frozen_layers=2)
    else:
        method = Supervised(model, "classification", num_frozen_layers=2, freeze_encoder_fraction=0.5)
        method.on_progress(0.9)  # unfreezes the rest
    method.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = method.param_groups(0.1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    model(torch.randn(2, 1, 3, 32, 32))
    torch.optim.SGD(groups, 0.1).step()
    same = [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    moved = [name for name, value in before.items() if value.is_floating_point() and name not in same]
    named = [name for name in same if before[name].is_floating_point()]
    assert any("conv1" in name for name in named)
    assert any("layer1" in name for name in named)
    assert any("layer2" in name for name in moved)
    assert any("running_mean" in name for name in named)
    assert not any("conv1.0" in name or "layer1.0" in name for name in moved)
    with pytest.raises(ConfigError, match="layers"):
        VDT(model, num_frozen_layers=99)


def _raw(folder, **changes):
    return {
        "pretraining": {"method": "vdt", "preset": "paper"},
        "arm": {"method": "lifted", "network": "timm:test_resnet", "pretrained": False},
        "task": "classification",
        "images": {"path": str(folder), "size": 32},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "num_threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture
def images(tmp_path):
    for number in range(6):
        folder = tmp_path / "images" / ("cat", "dog", "eel")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (40 * number, 20, 90)).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_vdt_pretrains_on_a_folder_of_images(images, tmp_path):
    config = parse(_raw(images), PretrainConfig)
    assert config.pretraining.label_smoothing == 0.1
    record = pretrain(config, tmp_path / "out")
    assert record.extra["images"] == 6
    state, card = read_weights(tmp_path / "out" / "weights")
    assert card["method"] == "vdt"
    assert state["head.2.weight"].shape[0] == 3


def test_vdt_requires_classes_or_a_teacher(images, tmp_path):
    with pytest.raises(DataError, match=r"pretraining\.teacher"):
        pretrain(parse(_raw(images / "cat"), PretrainConfig), tmp_path / "out")
