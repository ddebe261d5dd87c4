"""`dimlift export`, `push` and `pull` as typed: a network leaves as one file, or goes to a hub and comes back."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ask, head, refused, write_image

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_server import serving


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, as HF_ENDPOINT, HF_HUB_CACHE and HF_TOKEN would name it before the program starts."""
    from huggingface_hub import constants

    with serving() as started:
        monkeypatch.setattr(constants, "ENDPOINT", started.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", started.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        yield started


PUSH = ("me/blocks", "--licence", "cc-by-4.0", "--data", "Five heads of blocks.")


def test_an_exported_file_answers_as_the_run_does(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    answer = ask("export", run, tmp_path / "model.onnx")
    assert answer.code == 0, answer.err
    assert "model.onnx: volumes of any x 1 x any multiple of 2 x 16 x 16, error " in answer.out
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    window = torch.randn(1, 1, 16, 16, 16)
    (logits,) = session.run(["logits"], {"volume": window.numpy()})
    import dimlift

    with torch.no_grad():
        wanted = dimlift.Trained.from_pretrained(run).method(window).numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-4 * np.abs(wanted).max())


def test_an_operator_onnx_does_not_have_is_named_and_nothing_is_written(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from dimlift.inference.predictor import Trained

    @torch.library.custom_op("dimlift_cli_tests::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    doubled.register_fake(torch.empty_like)

    class Strange(torch.nn.Module):
        def forward(self, volume):
            return doubled(volume)

    load = Trained.load

    def strange(folder):
        found = load(folder)
        found.method = Strange()
        return found

    monkeypatch.setattr(Trained, "load", strange)
    told = refused("export", run, tmp_path / "model.onnx")
    assert "operator dimlift_cli_tests.doubled has no ONNX counterpart" in told
    assert "`dimlift predict`" in told
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_run_is_not_exported(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "model.json" in refused("export", tmp_path / "empty", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_what_was_pushed_comes_back_and_predicts(hub, run, tmp_path):
    answer = ask("push", run, *PUSH)
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{hub.address}/me/blocks/commit/")
    assert hub.private == {"me/blocks": True}
    assert b"Five heads of blocks." in hub.newest("me/blocks")["README.md"]
    weights = tmp_path / "weights"
    answer = ask("pull", "me/blocks", "--download", "--out", weights)
    assert (answer.code, answer.out.strip()) == (0, str(weights)), answer.err
    assert (weights / "model.safetensors").read_bytes() == (run / "weights/model.safetensors").read_bytes()
    image = write_image(tmp_path / "scan.nii.gz", head(7)[0])
    assert ask("predict", weights, image, tmp_path / "labels.nii.gz").code == 0
    assert (tmp_path / "labels.nii.gz").is_file()
    hub.repositories.clear()  # what was fetched once is found without the hub
    assert ask("pull", "me/blocks", "--out", tmp_path / "again").code == 0


def test_a_page_can_be_read_before_anything_leaves(hub, run, tmp_path):
    assert ask("push", run, *PUSH, "--preview", tmp_path / "page.md").code == 0
    assert "Five heads of blocks." in (tmp_path / "page.md").read_text()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (("me/blocks",), "me/blocks is not on this machine; allow fetching it with"),
        (("me/nothing", "--download"), "no repository me/nothing that you may see; check the spelling"),
        (("their/gated", "--download"), "their/gated is gated; accept its terms on its page of the hub, log in"),
        (("me/newer", "--download"), "has weights schema 99, this dimlift reads 1; read it with the version"),
        (("me/a/b", "--download"), "neither a folder here nor the name of a hub repository; give OWNER/NAME"),
    ],
)
def test_what_cannot_be_pulled_leaves_no_folder(hub, run, tmp_path, words, way_out):
    hub.gated.add("their/gated")
    files = {name: (run / "weights" / name).read_bytes() for name in ("model.json", "model.safetensors")}
    files["model.json"] = json.dumps({**json.loads(files["model.json"]), "schema": 99}).encode()
    hub.repositories["me/newer"] = {"a" * 40: files}
    assert way_out in refused("pull", *words, "--out", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_folder_that_is_there_already_is_not_filled(hub, tmp_path):
    assert "another folder with --out" in refused("pull", "me/blocks", "--download", "--out", tmp_path)
    assert hub.asked == []


def test_a_hub_that_lets_nobody_in(hub, run):
    hub.closed.add("you/blocks")
    told = refused("push", run, "you/blocks", "--licence", "mit")
    assert "refused you/blocks" in told
    assert "hf auth login" in told
    assert hub.repositories == {}


def test_weights_without_a_licence_stay_here(hub, run):
    assert "--licence" in refused("push", run, "me/blocks")
    assert hub.asked == []


@pytest.fixture(scope="module")
def points_run(tmp_path_factory):
    """A run of one step on clouds that lie in a folder for each class."""
    root, rng = tmp_path_factory.mktemp("points"), np.random.default_rng(0)
    for number in range(6):
        kind = root / "shapes" / ("ball", "rod")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        np.save(kind / f"{number}.npy", rng.normal(size=(40, 3)))
    quick = ("budget.steps=1", "split.folds=3", "clouds.points=32", "arm.share=0.1", "training.threads=1")
    answer = ask("train", root / "shapes", *quick, "--out", root / "run")
    assert answer.code == 0, answer.err
    return root / "run"


def test_a_run_of_points_goes_to_the_hub_and_comes_back(hub, points_run, tmp_path):
    assert ask("push", points_run, *PUSH).code == 0
    page = hub.newest("me/blocks")["README.md"].decode()
    assert "classification of clouds of points" in page
    assert "pipeline_tag" not in page  # the hub's are about pictures
    assert ask("pull", "me/blocks", "--download", "--out", tmp_path / "weights").code == 0
    np.save(tmp_path / "cloud.npy", np.random.default_rng(1).normal(size=(40, 3)))
    answer = ask("predict", tmp_path / "weights", tmp_path / "cloud.npy", tmp_path / "found.json")
    assert answer.code == 0, answer.err


def test_a_run_of_points_is_not_exported(points_run, tmp_path):
    told = refused("export", points_run, tmp_path / "model.onnx")
    assert "holds a network of points" in told
    assert "`dimlift predict`" in told
    assert not (tmp_path / "model.onnx").exists()


def test_the_page_of_a_pretraining_says_how_to_start_from_it(tmp_path):
    from dimlift.records.weights import write_weights

    card = {
        "task": "pretraining",
        "method": "ppkt",
        "channels": [],
        "labels": {},
        "spacing": None,
        "orientation": "RAS",
    }
    folder = write_weights(tmp_path / "weights", {"network.stem.weight": torch.zeros(2, 2)}, card)
    assert ask("push", folder, *PUSH, "--preview", tmp_path / "page.md").code == 0
    page = (tmp_path / "page.md").read_text()
    assert "arm.start=weights" in page
    assert "dimlift predict" not in page
