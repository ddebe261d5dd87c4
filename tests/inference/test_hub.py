"""Upload and download of weights, against a hub on this machine."""

import json

import pytest
import torch

from dimlift.errors import CorruptFileError, DataError, RunError, WeightsError
from dimlift.inference.hub import pull, push, write_model_page
from dimlift.inference.predictor import Predictor
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
    arm = {"method": "slicewise", "network": "timm:test_resnet", "pretrained": False}
    train(train_config(data, budget={"steps": 1}, arm=arm), out)
    return out


def test_push_then_pull_restores_the_weights(hub, run, tmp_path):
    address = push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    assert address.startswith(f"{hub.address}/me/blobs/commit/")
    assert len(hub.repositories["me/blobs"]) == 1
    assert hub.private["me/blobs"] is True
    folder = pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path / "cache")
    for name in ("model.safetensors", "model.json"):
        assert (folder / name).read_bytes() == (run / "weights" / name).read_bytes()
    once = len(hub.asked)
    assert pull("me/blobs", endpoint=hub.address, cache=tmp_path / "cache") == folder
    assert len(hub.asked) == once  # from the cache, without a request
    loaded, before = Predictor.from_pretrained(folder), Predictor.load(run / "weights")
    volume = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(loaded.method(volume), before.method(volume))


def test_pull_takes_both_files_of_one_commit(hub, run, tmp_path, monkeypatch):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    from huggingface_hub import file_download

    real = file_download.hf_hub_download
    fetched = []

    def fetch(repository, file, **options):
        found = real(repository, file, **options)
        if not fetched:  # a push between the two files
            old = hub.newest(repository)
            hub.repositories[repository]["f" * 40] = {**old, "model.safetensors": b"newer"}
        fetched.append(file)
        return found

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    folder = pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path)
    assert fetched == ["model.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == (run / "weights/model.safetensors").read_bytes()


def test_pull_refuses_weights_that_are_not_those_of_the_card(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    path = pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"^me/blobs: .*model\.safetensors is damaged.*delete .*fetch it again"):
        pull("me/blobs", endpoint=hub.address, cache=tmp_path)


def test_pull_sends_no_request_without_download(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    before = len(hub.asked)
    with pytest.raises(WeightsError, match=r"me/blobs is not on this machine; .*--download"):
        pull("me/blobs", endpoint=hub.address, cache=tmp_path)
    assert len(hub.asked) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me/nothing", r"no repository me/nothing that you can access; check the spelling.*hf auth login"),
        (
            "facebook/dinov3-x",
            r"gated: Meta requires its DINOv3 licence to be accepted; accept its terms.*hf auth login",
        ),
        ("me/other", r"holds no model.json, so dimlift did not write it; .*dimlift lift"),
        ("me/a/b", r"neither a folder nor the name of a hub repository; give OWNER/NAME"),
    ],
)
def test_pull_explains_unavailable_repositories(hub, tmp_path, name, message):
    hub.gated.add("facebook/dinov3-x")
    hub.repositories["me/other"] = {"a" * 40: {"config.json": b"{}"}}
    with pytest.raises(WeightsError, match=message):
        pull(name, download=True, endpoint=hub.address, cache=tmp_path)


def test_pull_names_an_unknown_revision(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    with pytest.raises(WeightsError, match=r"has no revision 'v9'; leave it out"):
        pull("me/blobs", download=True, revision="v9", endpoint=hub.address, cache=tmp_path)


def test_pull_explains_an_unreachable_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    with pytest.raises(WeightsError, match=r"could not be fetched; connect this machine"):
        pull("me/blobs", download=True, endpoint="http://127.0.0.1:9", cache=tmp_path)


def test_pull_refuses_another_schema(hub, run, tmp_path):
    push(run, "me/blobs", licence="cc-by-4.0", endpoint=hub.address, token="hf_x")
    files = hub.newest("me/blobs")
    files["model.json"] = json.dumps({**json.loads(files["model.json"]), "schema": 99}).encode()
    with pytest.raises(
        DataError, match=r"weights schema 99, this version of dimlift reads 1; read it with the version"
    ):
        pull("me/blobs", download=True, endpoint=hub.address, cache=tmp_path)


def test_push_refused_leaves_no_repository(hub, run):
    hub.closed.add("you/blobs")
    with pytest.raises(RunError, match=r"refused you/blobs .*hf auth login"):
        push(run, "you/blobs", licence="mit", endpoint=hub.address, token="hf_x")
    assert hub.repositories == {}


def test_push_needs_a_licence(hub, run):
    with pytest.raises(RunError, match=r"no licence is stated.*--licence"):
        push(run, "me/blobs", endpoint=hub.address, token="hf_x")
    assert hub.asked == []


def test_push_refuses_damaged_weights(hub, run, tmp_path):
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / "weights" / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((run / "weights/model.safetensors").read_bytes()[:-7])
    with pytest.raises(DataError, match="damaged"):
        push(tmp_path, "me/blobs", licence="mit", endpoint=hub.address, token="hf_x")
    assert hub.asked == []


def test_model_page_states_data_licence_certificate_scores_and_no_case(run, tmp_path):
    text = write_model_page(run, tmp_path / "page.md", "me/blobs", licence="CC-BY-4.0", data="Six blobs.").read_text()
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


def test_predictor_push_to_hub(hub, run):
    Predictor.load(run / "weights").push_to_hub("me/again", licence="mit", endpoint=hub.address, token="hf_x")
    assert sorted(hub.newest("me/again")) == ["README.md", "model.json", "model.safetensors"]
    assert b"No test case was scored" in hub.newest("me/again")["README.md"]
