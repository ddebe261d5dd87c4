"""timm's names of networks on the hub: hf-hub:OWNER/NAME."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dimlift.backbones.factory import create_backbone
from dimlift.errors import WeightsError


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Return a function that puts a repository with one network into the cache."""
    monkeypatch.setattr("socket.socket.connect", lambda *address: pytest.fail("a connection was opened"))
    folder = tmp_path / "snapshot"
    asked = []

    def find(repository, file, revision=None, **options):
        asked.append((repository, file, revision))
        path = folder / file
        return str(path) if path.is_file() else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", find)

    def put(content, **options):
        folder.mkdir()
        (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
        network = create_backbone("timm:test_resnet", pretrained=False, **options)[0]
        save_file(network.state_dict(), folder / "model.safetensors")
        return network.eval(), asked

    return put


CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 5,
    "pretrained_cfg": {"input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "license": "mit"},
}


@pytest.mark.parametrize("name", ["timm:hf-hub:me/net", "timm:hf_hub:me/net", "hf-hub:me/net"])
def test_name_of_the_hub_opens_its_network_and_weights(cached, name):
    network, asked = cached(CONFIG, num_classes=5)
    loaded, info = create_backbone(name, pretrained=True)
    assert {repository for repository, *_ in asked} == {"me/net"}
    assert (info.weights, info.mean, info.size) == ("me/net", [0.1, 0.2, 0.3], (96, 96))
    assert info.load_report.filled == info.load_report.tensors
    picture = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(picture), network(picture))
    maps, _ = create_backbone(name, pretrained=True, features_only=True)
    assert len(maps(picture)) > 1


def test_revision_is_asked_for(cached):
    _, asked = cached(CONFIG, num_classes=5)
    create_backbone("timm:hf-hub:me/net@v2", pretrained=True)
    assert {revision for *_, revision in asked} == {"v2"}


@pytest.mark.parametrize("content", [{"model_type": "vit"}, [1], "{", {"architecture": "test_resnet", "model_args": 3}])
def test_repository_without_a_network_of_timm_is_refused(cached, content):
    cached(content)
    with pytest.raises(WeightsError, match=r"config\.json of me/net names no network of timm.*transformers:me/net"):
        create_backbone("timm:hf-hub:me/net", pretrained=True)


def test_repository_that_is_not_on_this_machine_needs_download(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names, **options: None)
    monkeypatch.setattr("socket.socket.connect", lambda *address: pytest.fail("a connection was opened"))
    with pytest.raises(WeightsError, match=r"hf-hub:me/net are not on this machine; allow downloading"):
        create_backbone("timm:hf-hub:me/net", pretrained=True)
    assert not list(Path(tmp_path).iterdir())
