"""Pictures as volumes: nothing tells a slice's colour, frozen layers stay, and the weights go on with depth reduced."""

import pytest
import torch
from PIL import Image

from dimlift.batch import ImageBatch
from dimlift.errors import ConfigError, DataError, RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.distillation.vdt import VDT, pictures_as_volumes
from dimlift.methods.supervised.volumes import Supervised
from dimlift.methods.teachers.teacher import wrap_teacher
from dimlift.models.classifier import Classifier
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig


def _student(reduce=(1, 1, 1, 1), classes=3):
    torch.manual_seed(0)
    plan = DepthPlan(reduce=reduce)
    return Classifier(
        lift("timm:test_resnet", plan, in_channels=1, features_only=True, certify=False), classes, dropout=0.0
    )


def test_slices_are_colours_on_one_scale():
    picture = torch.rand(2, 3, 4, 5)
    volume = pictures_as_volumes(picture, torch.tensor([[2, 0, 1], [0, 1, 2]]))
    assert volume.shape == (2, 1, 3, 4, 5)
    back = (volume[:, 0] * 57.63 + 114.495) / 255
    torch.testing.assert_close(back[0], picture[0, [2, 0, 1]])
    torch.testing.assert_close(back[1], picture[1])


def test_no_slice_stands_for_a_colour():
    """Every order of the colours is as likely, so that a slice says nothing of its colour; pictures differ in it."""
    seen = []

    class Student(torch.nn.Module):
        def forward(self, volume):
            seen.append(volume[:, 0, :, 0, 0].argsort(1))
            return volume.sum((1, 3, 4))

    picture = torch.tensor([0.1, 0.5, 0.9])[None, :, None, None].expand(3000, 3, 1, 1)
    torch.manual_seed(0)
    batch = ImageBatch(picture, torch.zeros(3000, dtype=torch.int64), ("a",) * 3000)
    VDT(Student()).loss(batch)
    orders, counts = seen[-1].unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 400  # 500 each
    VDT(Student(), shuffle=False).loss(batch)
    assert len(seen[-1].unique(dim=0)) == 1


def test_the_same_weights_go_on_with_depth_reduced():
    flat, reduced = _student(), _student((2, 2, 2, 2))
    reduced.load_state_dict(flat.state_dict())  # strict: the same names and shapes
    assert [tuple(m.shape[2:3]) for m in flat.eval().encoder(torch.rand(1, 1, 3, 32, 32))][-1] == (3,)
    assert reduced.eval().encoder(torch.rand(1, 1, 16, 32, 32))[-1].shape[2] < 3


def test_soft_labels_teach_where_there_are_no_classes():
    torch.manual_seed(0)
    mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    teacher = wrap_teacher(torch.nn.Sequential(mean, torch.nn.Linear(3, 4)))
    batch = ImageBatch(torch.rand(2, 3, 32, 32), None, ("a", "b"))
    method = VDT(_student(classes=4), teacher)
    method.loss(batch).backward()
    assert all(name.startswith("model.") for name in method.state_dict())
    assert all(p.grad is None for p in teacher.frozen.network.parameters())
    soft = teacher.logits(batch.image).softmax(1)

    class Oracle(torch.nn.Module):
        def forward(self, volume):
            return soft.log()

    method.model = Oracle()
    entropy = -(soft * soft.log()).sum(1).mean()
    torch.testing.assert_close(method.loss(batch), entropy)  # nothing is below it
    with pytest.raises(RunError, match="no teacher"):
        VDT(_student()).loss(batch)


def test_label_smoothing_shares_a_class_among_all():
    """A student that is sure, and right, has no loss without it; with it, a share of each other class's."""
    told = torch.tensor([[5.0, 0.0, 0.0]])

    class Sure(torch.nn.Module):
        def forward(self, volume):
            return told.expand(len(volume), -1)

    batch = ImageBatch(torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), ("a",) * 4)
    plain, smooth = (VDT(Sure(), label_smoothing=share).loss(batch) for share in (0.0, 0.1))
    wanted = torch.tensor([1 - 0.1 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    torch.testing.assert_close(smooth, -(wanted * told.log_softmax(1)).sum())
    assert smooth > plain + 0.3


@pytest.mark.parametrize("way", ["pretraining", "task"])
def test_frozen_layers_stay_and_the_rest_learns(way):
    model = _student()
    if way == "pretraining":
        method = VDT(model, freeze_layers=2)
    else:
        method = Supervised(model, "classification", freeze_layers=2, freeze_encoder_until=0.5)
        method.set_progress(0.9)  # the rest is let go
    method.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = method.parameter_groups(0.1)
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
        VDT(model, freeze_layers=99)


def _raw(folder, **changes):
    return {
        "pretraining": {"method": "vdt", "preset": "paper"},
        "student": {"method": "lifted", "network": "timm:test_resnet", "pretrained": False},
        "task": "classification",
        "pictures": {"path": str(folder), "size": 32},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture
def pictures(tmp_path):
    for number in range(6):
        folder = tmp_path / "pictures" / ("cat", "dog", "eel")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (40 * number, 20, 90)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def test_a_folder_of_pictures_teaches_a_network_for_volumes(pictures, tmp_path):
    config = parse(_raw(pictures), PretrainConfig)
    assert config.pretraining.label_smoothing == 0.1
    record = pretrain(config, tmp_path / "out")
    assert record.extra["pictures"] == 6
    state, card = read_weights(tmp_path / "out" / "weights")
    assert card["method"] == "vdt"
    assert state["head.2.weight"].shape[0] == 3


def test_pictures_without_classes_need_a_teacher(pictures, tmp_path):
    with pytest.raises(DataError, match=r"pretraining\.teacher"):
        pretrain(parse(_raw(pictures / "cat"), PretrainConfig), tmp_path / "out")
