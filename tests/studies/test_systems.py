"""Presets of published systems match their papers, and class weights enter the loss."""

import pytest
import torch

from dimlift.backbones.factory import create_backbone
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.decoders.cascade import CascadedUpsampler
from dimlift.decoders.swin import SwinDecoder
from dimlift.decoders.upernext import UperNeXtDecoder
from dimlift.errors import ConfigError
from dimlift.inflation.inflate import inflate_kernel
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.baselines.resnet import ResNetConfig
from dimlift.methods.baselines.unets import SwinUNETRConfig
from dimlift.methods.convnext3d.config import INFLATIONS, PAPER, ConvNeXt3DConfig
from dimlift.methods.lifted.config import LiftedConfig
from dimlift.methods.slicewise.config import PRESETS, SlicewiseConfig

CONVNEXT = {"network": "timm:test_convnext", "pretrained": False}


def _task(kind: str = "segmentation", classes: int = 2, **others) -> TaskSpec:
    return TaskSpec(kind, 1, classes, None, (32, 32, 32), **others)


@pytest.mark.parametrize("inflation", INFLATIONS)
def test_convnext3d_kernels_match_inflation(inflation):
    """Stem and downsampling have even kernels, blocks have kernels of seven voxels."""
    torch.manual_seed(0)
    flat = lift("timm:test_convnext", DepthPlan(kernel=1), in_chans=1, features_only=True, certify=False).network
    torch.manual_seed(0)
    encoder = ConvNeXt3DConfig(**CONVNEXT, inflation=inflation).build(_task(), load_pretrained=False).model.encoder
    assert encoder.strides == ((4,) * 3, (8,) * 3, (16,) * 3, (32,) * 3)
    profile, axes = INFLATIONS[inflation]
    kernels = dict(encoder.network.named_parameters())
    cubes = set()
    for name, kernel in flat.named_parameters():
        if kernel.ndim == 4 and kernel.shape[-1] > 1:
            k = kernel.shape[-1]
            torch.testing.assert_close(kernels[name], inflate_kernel(kernel, k, profile, axes))
            cubes.add(k)
    assert cubes == {2, 4, 7}


def test_convnext3d_strides_depth_like_height():
    """With depth-only inflation, a volume of repeated slices has constant maps along depth."""
    torch.manual_seed(0)
    method = ConvNeXt3DConfig(**CONVNEXT, inflation="1g").build(_task(), load_pretrained=False).eval()
    maps = method.model.encoder(torch.randn(1, 1, 1, 64, 64).expand(-1, -1, 64, -1, -1))
    assert [tuple(m.shape[2:]) for m in maps] == [(16,) * 3, (8,) * 3, (4,) * 3, (2,) * 3]
    for each in maps:
        assert (each - each[:, :, :1]).abs().max() < 1e-4 * each.abs().max()
    assert isinstance(method.model.decoder, UperNeXtDecoder)


def test_explicit_keys_override_preset():
    arm = ConvNeXt3DConfig.model_validate({"preset": "paper", "inflation": "full"})
    assert {key: getattr(arm, key) for key in PAPER} == {**PAPER, "inflation": "full"}
    assert ConvNeXt3DConfig.model_validate(arm.model_dump(mode="json")) == arm


@pytest.mark.parametrize(("preset", "decoder"), [("transunet", CascadedUpsampler), ("swin_unet", SwinDecoder)])
def test_slicewise_presets_build_published_systems(preset, decoder):
    arm = SlicewiseConfig.model_validate({"preset": preset, "image_size": 64})
    assert {key: getattr(arm, key) for key in PRESETS[preset] if key != "image_size"} == {
        key: value for key, value in PRESETS[preset].items() if key != "image_size"
    }
    with torch.device("meta"):
        method = arm.build(_task(), load_pretrained=False)
    encoder = method.model.encoder
    assert isinstance(method.model.decoder, decoder)
    wanted = {
        "transunet": ((64, 256, 512, 768), (2, 4, 8, 16)),
        "swin_unet": ((96, 192, 384, 768), (4, 8, 16, 32)),
    }
    assert (encoder.channels, tuple(stride[2] for stride in encoder.strides)) == wanted[preset]
    size = encoder.image_size[0]
    assert method(torch.randn(1, 1, 2, size, size, device="meta")).shape == (1, 2, 2, size, size)


def test_hybrid_maps_match_its_parts():
    torch.manual_seed(0)
    options = {"image_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 2}
    network, _ = create_backbone("timm:vit_base_r50_s16_224", features_only=True, **options)
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


@pytest.mark.parametrize("arm", [ResNetConfig(layers=10, widths=(8, 8, 8, 8)), ConvNeXt3DConfig(**CONVNEXT)])
def test_class_weights_scale_gradients(arm):
    """Two volumes, one per class: the gradient of the shared bias depends on the class weights."""
    biases = []
    for weights in (None, (0.5, 1.5)):
        torch.manual_seed(0)
        method = arm.build(_task("classification", class_weights=weights), load_pretrained=False).eval()
        image = torch.randn(1, 1, 32, 32, 32).expand(2, -1, -1, -1, -1)
        method.loss(VolumeBatch(image, torch.tensor([0, 1]), ("a", "b"))).backward()
        biases.append(next(p.grad for name, p in reversed(list(method.named_parameters())) if p.shape == (2,)))
    torch.manual_seed(0)
    probabilities = method(image)[0].softmax(0)
    torch.testing.assert_close(biases[0], probabilities - torch.tensor([0.5, 0.5]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(biases[1], probabilities - torch.tensor([0.25, 0.75]), rtol=1e-4, atol=1e-5)


def test_swin_unetr_predicts_every_voxel_and_trains_every_weight():
    arm = SwinUNETRConfig(feature_size=12)
    torch.manual_seed(0)
    method = arm.build(TaskSpec("segmentation", 1, 2, None, (8, 8, 8)))
    image = torch.randn(1, 1, 20, 17, 33)  # the loss requires logits on the grid of the labels
    method.loss(VolumeBatch(image, (image[:, 0] > 0).long(), ("a",))).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


def test_invalid_class_weights_are_rejected():
    with pytest.raises(ConfigError, match=r"class_weights is for classes, the task is regression"):
        _task("regression", class_weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match=r"has 3 numbers for 2 classes; give one per class"):
        _task("classification", class_weights=(1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("option", "strides"),
    [
        ({}, (2, 4, 8, 16, 32)),
        ({"stem_stride": 1}, (1, 2, 4, 8, 16)),
        ({"num_stages": 2}, (2, 4)),
        ({"upsample": 2}, (1, 2, 4, 8, 16)),
    ],
)
def test_options_for_finer_features(option, strides):
    arm = LiftedConfig(network="timm:test_resnet", pretrained=False, decoder_channels=8, **option)
    method = arm.build(_task(), load_pretrained=False).eval()
    encoder = method.model.encoder
    assert [stride[2] for stride in encoder.strides] == list(strides)
    volume = torch.randn(1, 1, 3, 32, 32)
    assert [round(32 / m.shape[-1]) for m in encoder(volume)] == list(strides)
    assert method(volume).shape == (1, 2, 3, 32, 32)


def test_upsample_matches_interpolated_input():
    torch.manual_seed(0)
    plain = lift("timm:test_vit", DepthPlan(kernel=1), features_only=True, image_size=32, certify=False).eval()
    torch.manual_seed(0)
    upsampled = lift(
        "timm:test_vit", DepthPlan(kernel=1), features_only=True, image_size=32, certify=False, upsample=2
    ).eval()
    volume = torch.randn(1, 3, 3, 16, 16)
    larger = torch.nn.functional.interpolate(volume[0].transpose(0, 1), (32, 32), mode="bilinear").transpose(0, 1)[None]
    for one, other in zip(upsampled(volume), plain(larger), strict=True):
        torch.testing.assert_close(one, other)


def test_num_stages_and_out_indices_are_exclusive():
    with pytest.raises(ValueError, match="set one of the two"):
        LiftedConfig(num_stages=2, out_indices=(0, 1))
