"""Backbones of timm and of the package: weights from packages, files and the cache; unknown names."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

import dimlift
from dimlift import DepthPlan
from dimlift.backbones import create_backbone
from dimlift.errors import ShapeError, UnknownNameError, WeightsError


@pytest.fixture(scope="module")
def weights():
    network, _ = create_backbone("timm:test_resnet")
    return network.state_dict()


def load(path, **options):
    return create_backbone("timm:test_resnet", weights=path, **options)[0]


@pytest.mark.parametrize("prefix", ["", "module.", "teacher.backbone.", "student.", "module.teacher."])
@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped"])
def test_local_file_loads_with_any_wrapper(tmp_path, weights, prefix, kind):
    renamed = {prefix + key: value for key, value in weights.items()}
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(renamed, path)
    else:
        torch.save(renamed if kind == "pt" else {"epoch": 3, "state_dict": renamed}, path)
    for key, tensor in load(path).state_dict().items():
        assert torch.equal(tensor, weights[key])
    part = load(path, features_only=True).state_dict()
    assert part
    assert all(torch.equal(tensor, weights[key.replace("_", ".", 0)]) for key, tensor in part.items() if key in weights)


def test_local_file_with_other_keys_is_rejected(tmp_path, weights):
    path = tmp_path / "weights.safetensors"
    short = dict(weights)
    removed = next(key for key in short if key.endswith("conv1.weight"))
    short.pop(removed)
    save_file(short | {"extra.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=rf"missing: {removed}; not of this network: extra.weight"):
        load(path)
    save_file(weights | {removed: torch.zeros(1, 2)}, path)
    with pytest.raises(WeightsError, match=rf"{removed} is \(1, 2\) in the file"):
        load(path)
    with pytest.raises(WeightsError, match="there is no weights file"):
        load(tmp_path / "none.pt")
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load(tmp_path / "broken.pt")


def test_unknown_names_are_rejected_with_suggestions():
    with pytest.raises(UnknownNameError, match="resnet18"):
        dimlift.lift("timm:resnet_18")
    with pytest.raises(UnknownNameError, match="packaged, smp, timm, torchvision, transformers"):
        dimlift.lift("hub:resnet18")
    with pytest.raises(UnknownNameError, match="efficientnet_lite0"):
        dimlift.lift("packaged:efficientnet_lite9")


def test_weights_are_not_downloaded_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="download=True"):
        dimlift.lift("timm:resnet18.tv_in1k", pretrained=True)


def test_packaged_network_states_its_provenance():
    lifted = dimlift.lift("packaged:efficientnet_lite0", DepthPlan(), in_chans=1, features_only=True)
    assert lifted.source == "packaged:efficientnet_lite0"
    assert lifted.licence == "apache-2.0"
    assert lifted.provenance["sha256"].startswith("57934424")  # as in the name of its file
    assert lifted.provenance["filled"] == lifted.provenance["tensors"]
    assert lifted.channels == (16, 24, 40, 112, 320)
    assert lifted.strides[-1] == (1, 32, 32)
    assert lifted.certificate.holds
    stem = lifted.network.get_parameter("conv_stem.weight")
    assert stem.shape == (32, 1, 3, 3, 3)
    assert 0.01 < stem.std() < 1  # trained, not a constant initialisation


def test_image_size_changes_networks_bound_to_one_size():
    lifted = dimlift.lift("timm:vit_tiny_patch16_224", image_size=64, features_only=True, in_chans=1)
    maps = lifted(torch.randn(1, 1, 2, 64, 64))
    assert maps[-1].shape[-1] * lifted.strides[-1][-1] == 64
    with pytest.raises(ShapeError, match=r"lift it with image_size=\(32, 48\)"):
        lifted(torch.randn(1, 1, 2, 32, 48))
    network, _ = create_backbone("timm:vit_tiny_patch16_224", features_only=True)
    resized = dimlift.lift(network, image_size=(64, 96), in_chans=1)
    assert resized(torch.randn(1, 1, 2, 64, 96))[-1].shape[-2:] == (4, 6)


def test_import_of_dimlift_loads_no_heavy_package():
    probe = "import sys, dimlift; print([m for m in ('torch', 'timm', 'monai', 'lightning') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_cached_weights_load_without_a_connection(monkeypatch, tmp_path, weights):
    file = tmp_path / "model.safetensors"
    save_file(weights, file)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **options: str(file))
    monkeypatch.setattr("socket.socket.connect", lambda *address: pytest.fail("a connection was opened"))
    for features_only in (False, True):
        network, info = create_backbone("timm:test_resnet", pretrained=True, features_only=features_only)
        found = network.state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in found.items())
        assert info.weights.startswith("timm/test_resnet")
        assert info.sha256 is not None
        assert info.load_report.filled == info.load_report.tensors == len(found)
        assert info.load_report.dropped == (("fc (2)",) if features_only else ())
        assert "state_dict" not in getattr(network, "pretrained_cfg", {})
    other, info = create_backbone("timm:test_resnet", pretrained=True, num_classes=7)
    assert not torch.equal(other.state_dict()["fc.bias"], weights["fc.bias"][:7])
    assert info.load_report.filled == info.load_report.tensors - 2  # the head is initialised randomly
    with pytest.raises(UnknownNameError, match=r"test_resnet\.r160_in1k"):
        create_backbone("timm:test_resnet.none", pretrained=True)
