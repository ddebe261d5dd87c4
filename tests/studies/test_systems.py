"""The published systems by name are what their papers say, and the loss weighs classes as asked."""

import pytest
import torch

from dimlift.backbones.open_network import open_network
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.decoders.cascade import CascadedUpsampler
from dimlift.decoders.swin import SwinDecoder
from dimlift.decoders.upernext import UperNeXtDecoder
from dimlift.errors import ConfigError
from dimlift.inflation.inflate import inflate
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.baselines.resnet import ResNetArm
from dimlift.methods.baselines.unets import SwinUNETRArm
from dimlift.methods.convnext3d.config import INFLATIONS, PAPER, ConvNeXt3DArm
from dimlift.methods.lifted.config import LiftedArm
from dimlift.methods.slicewise.config import PRESETS, SlicesArm

CONVNEXT = {"network": "timm:test_convnext", "pretrained": False}


def _task(kind: str = "segmentation", classes: int = 2, **others) -> Task:
    return Task(kind, 1, classes, None, (32, 32, 32), **others)


@pytest.mark.parametrize("inflation", INFLATIONS)
def test_every_kernel_of_a_3d_convnext_is_the_cube_its_inflation_makes(inflation):
    """Stem and downsampling, whose kernels are even, as well as the seven voxels of every block."""
    torch.manual_seed(0)
    flat = lift("timm:test_convnext", DepthPlan(kernel=1), in_channels=1, features_only=True, certify=False).network
    torch.manual_seed(0)
    encoder = ConvNeXt3DArm(**CONVNEXT, inflation=inflation).build(_task(), fresh=False).model.encoder
    assert encoder.strides == ((4,) * 3, (8,) * 3, (16,) * 3, (32,) * 3)
    profile, axes = INFLATIONS[inflation]
    kernels = dict(encoder.network.named_parameters())
    cubes = set()
    for name, kernel in flat.named_parameters():
        if kernel.ndim == 4 and kernel.shape[-1] > 1:
            k = kernel.shape[-1]
            torch.testing.assert_close(kernels[name], inflate(kernel, k, profile, axes))
            cubes.add(k)
    assert cubes == {2, 4, 7}


def test_a_3d_convnext_reduces_depth_as_it_does_height():
    """With depth-only inflation a volume of one slice repeated gets the 2D maps, each once for 4, 8, ... slices."""
    torch.manual_seed(0)
    method = ConvNeXt3DArm(**CONVNEXT, inflation="1g").build(_task(), fresh=False).eval()
    maps = method.model.encoder(torch.randn(1, 1, 1, 64, 64).expand(-1, -1, 64, -1, -1))
    assert [tuple(m.shape[2:]) for m in maps] == [(16,) * 3, (8,) * 3, (4,) * 3, (2,) * 3]
    for each in maps:
        assert (each - each[:, :, :1]).abs().max() < 1e-4 * each.abs().max()
    assert isinstance(method.model.decoder, UperNeXtDecoder)


def test_the_papers_preset_gives_way_to_what_is_said():
    arm = ConvNeXt3DArm.model_validate({"preset": "paper", "inflation": "full"})
    assert {key: getattr(arm, key) for key in PAPER} == {**PAPER, "inflation": "full"}
    assert ConvNeXt3DArm.model_validate(arm.model_dump(mode="json")) == arm


@pytest.mark.parametrize(("preset", "decoder"), [("transunet", CascadedUpsampler), ("swin_unet", SwinDecoder)])
def test_a_slice_by_slice_system_is_built_by_its_name(preset, decoder):
    arm = SlicesArm.model_validate({"preset": preset, "image_size": 64})
    assert {key: getattr(arm, key) for key in PRESETS[preset] if key != "image_size"} == {
        key: value for key, value in PRESETS[preset].items() if key != "image_size"
    }
    with torch.device("meta"):
        method = arm.build(_task(), fresh=False)
    encoder = method.model.encoder
    assert isinstance(method.model.decoder, decoder)
    wanted = {
        "transunet": ((64, 256, 512, 768), (2, 4, 8, 16)),
        "swin_unet": ((96, 192, 384, 768), (4, 8, 16, 32)),
    }
    assert (encoder.channels, tuple(stride[2] for stride in encoder.strides)) == wanted[preset]
    size = encoder.image_size[0]
    assert method(torch.randn(1, 1, 2, size, size, device="meta")).shape == (1, 2, 2, size, size)


def test_a_hybrids_maps_are_those_of_its_own_parts():
    torch.manual_seed(0)
    options = {"image_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 2}
    network, _ = open_network("timm:vit_base_r50_s16_224", features_only=True, **options)
    whole = network.eval().model
    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        maps = network(images)
        stages = whole.patch_embed.backbone.forward_intermediates(images, indices=[0, 1, 2], intermediates_only=True)
        tokens = whole.forward_features(images)
    for found, wanted in zip(maps[:3], stages, strict=True):
        torch.testing.assert_close(found, wanted)
    assert maps[3].shape == (2, 24, 2, 2)
    torch.testing.assert_close(maps[3].permute(0, 2, 3, 1).flatten(1, 2), tokens[:, 1:])
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("arm", [ResNetArm(layers=10, widths=(8, 8, 8, 8)), ConvNeXt3DArm(**CONVNEXT)])
def test_a_heavier_class_pulls_the_answer_its_way(arm):
    """Two volumes, one of each class: the gradient of the shared bias is the difference of their weights."""
    biases = []
    for weights in (None, (0.5, 1.5)):
        torch.manual_seed(0)
        method = arm.build(_task("classification", class_weights=weights), fresh=False).eval()
        image = torch.randn(1, 1, 32, 32, 32).expand(2, -1, -1, -1, -1)
        method.loss(VolumeBatch(image, torch.tensor([0, 1]), ("a", "b"))).backward()
        biases.append(next(p.grad for name, p in reversed(list(method.named_parameters())) if p.shape == (2,)))
    torch.manual_seed(0)
    chances = method(image)[0].softmax(0)
    torch.testing.assert_close(biases[0], chances - torch.tensor([0.5, 0.5]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(biases[1], chances - torch.tensor([0.25, 0.75]), rtol=1e-4, atol=1e-5)


def test_a_swin_unetr_answers_every_voxel_and_learns_every_weight():
    arm = SwinUNETRArm(width=12)
    torch.manual_seed(0)
    method = arm.build(Task("segmentation", 1, 2, None, (8, 8, 8)))
    image = torch.randn(1, 1, 20, 17, 33)  # the criterion refuses answers on another grid
    method.loss(VolumeBatch(image, (image[:, 0] > 0).long(), ("a",))).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


def test_class_weights_that_fit_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"class_weights is for classes, the task is regression"):
        _task("regression", class_weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match=r"holds 3 numbers for 2 classes; give one for each"):
        _task("classification", class_weights=(1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("option", "strides"),
    [
        ({}, (2, 4, 8, 16, 32)),
        ({"stem_stride": 1}, (1, 2, 4, 8, 16)),
        ({"stages": 2}, (2, 4)),
        ({"enlarge": 2}, (1, 2, 4, 8, 16)),
    ],
)
def test_one_argument_makes_features_finer(option, strides):
    arm = LiftedArm(network="timm:test_resnet", pretrained=False, width=8, **option)
    method = arm.build(_task(), fresh=False).eval()
    encoder = method.model.encoder
    assert [stride[2] for stride in encoder.strides] == list(strides)
    volume = torch.randn(1, 1, 3, 32, 32)
    assert [round(32 / m.shape[-1]) for m in encoder(volume)] == list(strides)
    assert method(volume).shape == (1, 2, 3, 32, 32)


def test_an_enlarged_slice_is_what_the_network_would_have_been_shown():
    torch.manual_seed(0)
    plain = lift("timm:test_vit", DepthPlan(kernel=1), features_only=True, image_size=32, certify=False).eval()
    torch.manual_seed(0)
    enlarged = lift(
        "timm:test_vit", DepthPlan(kernel=1), features_only=True, image_size=32, certify=False, enlarge=2
    ).eval()
    volume = torch.randn(1, 3, 3, 16, 16)
    larger = torch.nn.functional.interpolate(volume[0].transpose(0, 1), (32, 32), mode="bilinear").transpose(0, 1)[None]
    for one, other in zip(enlarged(volume), plain(larger), strict=True):
        torch.testing.assert_close(one, other)


def test_stages_and_maps_are_one_choice():
    with pytest.raises(ValueError, match="give one of both"):
        LiftedArm(stages=2, maps=(0, 1))
