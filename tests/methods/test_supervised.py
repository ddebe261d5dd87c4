"""Supervised training: losses of each task, parameter groups, and freezing of the encoder."""

import pytest
import torch
from torch import nn

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.errors import ConfigError, UnknownNameError
from dimlift.methods.method import Method
from dimlift.methods.supervised.encoder_layers import encoder_layers
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.unet import plain_unet


class TinyModel(nn.Module):
    """An encoder of three numbered layers and a head, with outputs per voxel or per volume."""

    def __init__(self, num_outputs: int = 2, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.encoder = nn.Module()
        self.encoder.stem = nn.Conv3d(1, 4, 1)
        self.encoder.layers = nn.Sequential(nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4), nn.Conv3d(4, 4, 1))
        self.head = nn.Conv3d(4, num_outputs, 1)

    def forward(self, volume):
        logits = self.head(self.encoder.layers(self.encoder.stem(volume)))
        return logits.mean((2, 3, 4)) if self.pooled else logits


def _segmentation_batch() -> VolumeBatch:
    return VolumeBatch(torch.randn(2, 1, 4, 6, 6), torch.randint(0, 2, (2, 4, 6, 6)), ("a", "b"))


def test_supervised_reduces_loss():
    torch.manual_seed(0)
    method = Supervised(plain_unet(1, 2, widths=(4, 8)))
    assert isinstance(method, Method)
    image = torch.randn(2, 1, 8, 8, 8)
    batch = VolumeBatch(image, (image[:, 0] > 0).long(), ("a", "b"))
    optimizer = torch.optim.AdamW(method.param_groups(1e-2))
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        value = method.loss(batch)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.8 * losses[0]
    assert method(image).shape == (2, 2, 8, 8, 8)


def test_param_groups_decay_by_layer():
    method = Supervised(TinyModel(), encoder_lr_scale=0.1, layer_decay=0.5)
    groups = method.param_groups(1.0)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in method.parameters())
    lr_by_group = {group["name"]: group["lr"] for group in groups}
    assert lr_by_group["head"] == 1.0
    encoder = [lr for name, lr in lr_by_group.items() if name.startswith("encoder.")]
    assert encoder == sorted(encoder)
    assert encoder[-1] == pytest.approx(0.1)
    assert encoder[0] == pytest.approx(0.1 * 0.5 ** (len(encoder) - 1))
    assert {g["name"]: g["lr"] for g in Supervised(TinyModel(), encoder_lr_scale=0.1).param_groups(1.0)} == {
        "head": 1.0,
        "encoder": 0.1,
    }
    assert [g["name"] for g in Supervised(plain_unet(1, 2, widths=(4, 8))).param_groups(1.0)] == ["model"]


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        (["conv1", "bn1", "layer1.0", "layer1.1", "layer2.0", "norm"], ["stem", "layer1", "layer2"]),
        (["net.conv_stem", "net.blocks.0.0", "net.blocks.1.0"], ["stem", "net.blocks.0", "net.blocks.1"]),
        (["stem_0", "stages_0.blocks.0", "stages_0.blocks.1", "stages_1.downsample"],
         ["stem", "stages_0.blocks.0", "stages_0.blocks.1", "stages_1"]),
    ],
)  # fmt: skip
def test_encoder_layers_recognises_common_names(names, layers):
    class Named(nn.Module):
        def named_parameters(self, *args, **kwargs):
            return ((f"{name}.weight", nn.Parameter(torch.zeros(1))) for name in names)

    assert list(encoder_layers(Named())) == layers


def test_supervised_freezes_encoder_and_its_statistics():
    torch.manual_seed(0)
    method = Supervised(TinyModel(), freeze_encoder_fraction=0.5).train()
    optimizer = torch.optim.AdamW(method.param_groups(1e-1))

    def step_at(progress: float) -> tuple[bool, bool]:
        method.on_progress(progress)
        before = {name: value.clone() for name, value in method.model.state_dict().items()}
        optimizer.zero_grad()
        method.loss(_segmentation_batch()).backward()
        optimizer.step()
        moved = {name for name, value in method.model.state_dict().items() if not torch.equal(value, before[name])}
        return any(n.startswith("encoder.") for n in moved), any(n.startswith("head.") for n in moved)

    assert step_at(0.0) == (False, True)
    method.eval()
    method.train()  # as after validation
    assert step_at(0.49) == (False, True)
    assert step_at(0.5) == (True, True)
    assert method.model.encoder.training
    always = Supervised(TinyModel(), freeze_encoder_fraction=1.0)
    always.on_progress(1.0)
    assert always.encoder_frozen


def test_supervised_ignores_unlabelled_volumes():
    image = torch.randn(3, 1, 2, 4, 4)
    classes = Supervised(TinyModel(3, pooled=True), "classification")
    classes.eval()
    some = classes.loss(VolumeBatch(image, torch.tensor([0, IGNORE, 2]), ("a", "b", "c")))
    torch.testing.assert_close(some, classes.loss(VolumeBatch(image[[0, 2]], torch.tensor([0, 2]), ("a", "c"))))
    assert classes(image).shape == (3, 3)

    numbers = Supervised(TinyModel(1, pooled=True), "regression", target_mean=50.0, target_std=10.0).eval()
    torch.testing.assert_close(numbers(image), numbers.model(image) * 10 + 50)
    exact = VolumeBatch(image, numbers(image)[:, 0].detach(), ("a", "b", "c"))
    assert numbers.loss(exact) < 1e-8
    assert "target_mean" in numbers.state_dict()


def test_supervised_rejects_unknown_task_and_freezing_without_encoder():
    with pytest.raises(UnknownNameError, match="detection"):
        Supervised(TinyModel(), "detection")
    with pytest.raises(ConfigError, match=r"freeze_encoder_fraction=0.5.*no encoder"):
        Supervised(plain_unet(1, 2, widths=(4, 8)), freeze_encoder_fraction=0.5)
