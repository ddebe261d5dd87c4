"""Weights of networks that were trained on pictures of another number of channels are read as they are."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.factory import create_backbone
from dimlift.errors import WeightsError


def saved(path, name, channels, **options):
    network, _ = create_backbone(f"timm:{name}", pretrained=False, in_chans=channels, **options)
    torch.save({"state_dict": network.state_dict()}, path)
    return network.eval()


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_network_answers_as_the_one_that_was_saved(tmp_path, name, channels):
    network = saved(tmp_path / "a.pth", name, channels)
    loaded, info = create_backbone(f"timm:{name}", weights=tmp_path / "a.pth")
    assert info.load_report.in_chans == channels
    assert len(info.mean) == len(info.std) == channels
    picture = torch.randn(2, channels, 160, 160)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(picture), network(picture))


def test_lifted_kernel_is_the_one_of_the_file(tmp_path):
    network = saved(tmp_path / "a.pth", "test_resnet", 1)
    lifted = dimlift.lift(
        "timm:test_resnet", DepthPlan(kernel=1), weights=tmp_path / "a.pth", in_chans=1, features_only=True
    )
    assert lifted.certificate.holds
    assert "trained on images of 1 channels" in str(lifted.certificate)
    kernel = next(tensor for key, tensor in lifted.network.state_dict().items() if key.endswith("conv1.0.weight"))
    assert torch.equal(kernel.reshape(-1), network.state_dict()["conv1.0.weight"].reshape(-1))


def test_stem_of_another_kernel_is_refused(tmp_path):
    state = create_backbone("timm:test_resnet", pretrained=False, in_chans=1)[0].state_dict()
    key = next(key for key, value in state.items() if value.ndim == 4)
    torch.save({**state, key: state[key][..., :1]}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=rf"{key} is \(\d+, 1, 3, 1\) in the file"):
        create_backbone("timm:test_resnet", weights=tmp_path / "a.pth")


@pytest.mark.parametrize("features_only", [False, True])
def test_certificate_lists_the_resized_patch_kernel(tmp_path, features_only):
    saved(tmp_path / "a.pth", "test_vit", 3, patch_size=8)
    lifted = dimlift.lift(
        "timm:test_vit", DepthPlan(kernel=1), weights=tmp_path / "a.pth", in_chans=1, features_only=features_only
    )
    (key,) = (key for key in lifted.info.load_report.resized if "patch_embed" in key)
    before, after = lifted.info.load_report.resized[key]
    assert (before[2:], after[2:]) == ((8, 8), (16, 16))
    text = str(lifted.certificate)
    assert f"patch_embed.proj.weight: {before} to (64, 1, 16, 16)" in text  # in_chans=1
    assert "pos_embed" in text
