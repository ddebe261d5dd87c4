"""Weights to the hub and back, against a hub on this machine: nothing unasked, whole or not at all, with a page."""

import json

import pytest
import torch

from dimlift.errors import DataError, RunError, WeightsError
from dimlift.inference.hub import pull, push, write_page
from dimlift.inference.predictor import Trained
from dimlift.studies.train import train
from hub_server import serving
from small_runs import train_config


@pytest.fixture
def hub():
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    arm = {"method": "slices", "network": "timm:test_resnet", "pretrained": False}
    train(train_config(data, budget={"steps": 1}, arm=arm), out)
    return out


def test_weights_go_up_in_one_commit_and_come_down_the_same(hub, run, tmp_path):
    address = push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    assert address.startswith(f"{hub.address}/me/blobs/commit/")
    assert len(hub.repositories["me/blobs"]) == 1
    assert hub.private["me/blobs"] is True
    folder = pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path / "cache")
    for name in ("model.safetensors", "model.json"):
        assert (folder / name).read_bytes() == (run / "weights" / name).read_bytes()
    once = len(hub.asked)
    assert pull("me/blobs", endpoint=hub.address, cache=tmp_path / "cache") == folder
    assert len(hub.asked) == once  # the cache answers, the network is not asked
    loaded, before = Trained.from_pretrained(folder), Trained.load(run / "weights")
    volume = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(loaded.method(volume), before.method(volume))


def test_both_files_are_of_the_same_commit(hub, run, tmp_path, monkeypatch):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    from huggingface_hub import file_download

    real = file_download.hf_hub_download
    fetched = []

    def fetch(repository, file, **options):
        found = real(repository, file, **options)
        if not fetched:  # somebody pushes between the two files
            old = hub.newest(repository)
            hub.repositories[repository]["f" * 40] = {**old, "model.safetensors": b"newer"}
        fetched.append(file)
        return found

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    folder = pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path)
    assert fetched == ["model.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == (run / "weights/model.safetensors").read_bytes()


def test_nothing_is_fetched_unasked(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    before = len(hub.asked)
    with pytest.raises(WeightsError, match=r"me/blobs is not on this machine; .*--download"):
        pull("me/blobs", endpoint=hub.address, cache=tmp_path)
    assert len(hub.asked) == before


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("me/nothing", r"no repository me/nothing that you may see; check the spelling.*hf auth login"),
        ("facebook/dinov3-x", r"gated: Meta has its DINOv3 licence accepted first; accept its terms.*hf auth login"),
        ("me/other", r"holds no model.json, so dimlift did not write it; .*dimlift lift"),
        ("me/a/b", r"neither a folder here nor the name of a hub repository; give OWNER/NAME"),
    ],
)
def test_a_repository_that_cannot_be_had_says_what_to_do(hub, tmp_path, name, way_out):
    hub.gated.add("facebook/dinov3-x")
    hub.repositories["me/other"] = {"a" * 40: {"config.json": b"{}"}}
    with pytest.raises(WeightsError, match=way_out):
        pull(name, download=True, endpoint=hub.address, cache=tmp_path)


def test_a_revision_that_does_not_exist_is_named(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    with pytest.raises(WeightsError, match=r"has no revision 'v9'; leave it out"):
        pull("me/blobs", download=True, revision="v9", endpoint=hub.address, cache=tmp_path)


def test_a_hub_out_of_reach_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    with pytest.raises(WeightsError, match=r"could not be fetched; connect this machine"):
        pull("me/blobs", download=True, endpoint="http://127.0.0.1:9", cache=tmp_path)


def test_weights_of_another_version_are_refused(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    files = hub.newest("me/blobs")
    files["model.json"] = json.dumps({**json.loads(files["model.json"]), "schema": 99}).encode()
    with pytest.raises(DataError, match=r"weights schema 99, this dimlift reads 1; read it with the version"):
        pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path)


def test_a_hub_that_refuses_leaves_nothing_there(hub, run):
    hub.closed.add("you/blobs")
    with pytest.raises(RunError, match=r"refused you/blobs .*hf auth login"):
        push(run, "you/blobs", licence="mit", endpoint=hub.address, token="hf_x")
    assert hub.repositories == {}


def test_weights_without_a_licence_stay_here(hub, run):
    with pytest.raises(RunError, match=r"nobody states a licence.*--licence"):
        push(run, "me/blobs", endpoint=hub.address, token="hf_x")
    assert hub.asked == []


def test_damaged_weights_stay_here(hub, run, tmp_path):
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / "weights" / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((run / "weights/model.safetensors").read_bytes()[:-7])
    with pytest.raises(DataError, match="damaged"):
        push(tmp_path, "me/blobs", licence="mit", endpoint=hub.address, token="hf_x")
    assert hub.asked == []


def test_the_page_says_data_licence_certificate_and_scores_and_names_no_case(run, tmp_path):
    text = write_page(run, tmp_path / "page.md", "me/blobs", licence="CC-BY-4.0", data="Six blobs.").read_text()
    header = text.split("---")[1]
    assert 'license: "cc-by-4.0"' in header
    assert 'pipeline_tag: "image-segmentation"' in header
    card = json.loads((run / "weights/model.json").read_text())
    (record,) = [json.loads(path.read_text()) for path in (run / "records").glob("*.json")]
    assert "Six blobs." in text
    assert f"trained on {len(record['extra']['training_cases'])} cases for 1 steps" in text
    assert f"2D network: {card['source']}" in text
    assert "licence of the 2D weights: not stated" in text
    dice = [s["value"] for s in record["scores"] if (s["class"], s["metric"]) == ("1", "dice")]
    assert f"| 1 | dice | {sum(dice) / len(dice):.4f} | 2 of 2 |" in text
    assert '"claimed"' in text
    assert not any(case in text for case in [s["case"] for s in record["scores"]])


def test_a_trained_network_pushes_itself(hub, run):
    Trained.load(run / "weights").push_to_hub("me/again", licence="mit", endpoint=hub.address, token="hf_x")
    assert sorted(hub.newest("me/again")) == ["README.md", "model.json", "model.safetensors"]
    assert b"No test case was scored" in hub.newest("me/again")["README.md"]
