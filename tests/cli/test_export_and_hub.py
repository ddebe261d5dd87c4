"""`dimlift export`, `push` and `pull` on the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import head, run_cli, run_rejected, write_image

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_server import serving


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, configured as by HF_ENDPOINT, HF_HUB_CACHE and HF_TOKEN."""
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


def test_export_reproduces_the_run(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    result = run_cli("export", run, tmp_path / "model.onnx")
    assert result.code == 0, result.err
    assert "model.onnx: volumes of any x 1 x any multiple of 2 x 16 x 16, error " in result.out
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    window = torch.randn(1, 1, 16, 16, 16)
    (logits,) = session.run(["logits"], {"volume": window.numpy()})
    import dimlift

    with torch.no_grad():
        expected = dimlift.Predictor.from_pretrained(run).method(window).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_export_names_unsupported_operators(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from dimlift.inference.predictor import Predictor

    @torch.library.custom_op("dimlift_cli_tests::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    doubled.register_fake(torch.empty_like)

    class Unsupported(torch.nn.Module):
        def forward(self, volume):
            return doubled(volume)

    load = Predictor.load

    def unsupported(folder):
        found = load(folder)
        found.method = Unsupported()
        return found

    monkeypatch.setattr(Predictor, "load", unsupported)
    message = run_rejected("export", run, tmp_path / "model.onnx")
    assert "operator dimlift_cli_tests.doubled has no ONNX counterpart" in message
    assert "`dimlift predict`" in message
    assert list(tmp_path.iterdir()) == []


def test_export_refuses_a_folder_without_run(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "model.json" in run_rejected("export", tmp_path / "empty", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_push_pull_predict(hub, run, tmp_path):
    result = run_cli("push", run, *PUSH)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{hub.address}/me/blocks/commit/")
    assert hub.private == {"me/blocks": True}
    assert b"Five heads of blocks." in hub.newest("me/blocks")["README.md"]
    weights = tmp_path / "weights"
    result = run_cli("pull", "me/blocks", "--download", "--out", weights)
    assert (result.code, result.out.strip()) == (0, str(weights)), result.err
    assert (weights / "model.safetensors").read_bytes() == (run / "weights/model.safetensors").read_bytes()
    image = write_image(tmp_path / "scan.nii.gz", head(7)[0])
    assert run_cli("predict", weights, image, tmp_path / "labels.nii.gz").code == 0
    assert (tmp_path / "labels.nii.gz").is_file()
    hub.repositories.clear()  # from the cache, without the hub
    assert run_cli("pull", "me/blocks", "--out", tmp_path / "again").code == 0


def test_push_preview_uploads_nothing(hub, run, tmp_path):
    assert run_cli("push", run, *PUSH, "--preview", tmp_path / "page.md").code == 0
    assert "Five heads of blocks." in (tmp_path / "page.md").read_text()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("me/blocks",), "me/blocks is not on this machine; allow fetching it with"),
        (("me/nothing", "--download"), "no repository me/nothing that you can access; check the spelling"),
        (("their/gated", "--download"), "their/gated is gated; accept its terms on its page of the hub, log in"),
        (
            ("me/newer", "--download"),
            "has weights schema 99, this version of dimlift reads 1; read it with the version",
        ),
        (("me/a/b", "--download"), "neither a folder nor the name of a hub repository; give OWNER/NAME"),
    ],
)
def test_pull_failure_leaves_no_folder(hub, run, tmp_path, words, message):
    hub.gated.add("their/gated")
    files = {name: (run / "weights" / name).read_bytes() for name in ("model.json", "model.safetensors")}
    files["model.json"] = json.dumps({**json.loads(files["model.json"]), "schema": 99}).encode()
    hub.repositories["me/newer"] = {"a" * 40: files}
    assert message in run_rejected("pull", *words, "--out", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_pull_refuses_an_existing_folder(hub, tmp_path):
    assert "another folder with --out" in run_rejected("pull", "me/blocks", "--download", "--out", tmp_path)
    assert hub.asked == []


def test_push_explains_missing_access(hub, run):
    hub.closed.add("you/blocks")
    message = run_rejected("push", run, "you/blocks", "--licence", "mit")
    assert "refused you/blocks" in message
    assert "hf auth login" in message
    assert hub.repositories == {}


def test_push_needs_a_licence(hub, run):
    assert "--licence" in run_rejected("push", run, "me/blocks")
    assert hub.asked == []


@pytest.fixture(scope="module")
def points_run(tmp_path_factory):
    """A run of one step on point clouds, in one folder per class."""
    root, rng = tmp_path_factory.mktemp("points"), np.random.default_rng(0)
    for number in range(6):
        kind = root / "shapes" / ("ball", "rod")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        np.save(kind / f"{number}.npy", rng.normal(size=(40, 3)))
    quick = (
        "budget.steps=1",
        "split.folds=3",
        "point_clouds.num_points=32",
        "arm.width_multiplier=0.1",
        "training.num_threads=1",
    )
    result = run_cli("train", root / "shapes", *quick, "--out", root / "run")
    assert result.code == 0, result.err
    return root / "run"


def test_push_pull_predict_point_clouds(hub, points_run, tmp_path):
    assert run_cli("push", points_run, *PUSH).code == 0
    page = hub.newest("me/blocks")["README.md"].decode()
    assert "classification of point clouds" in page
    assert "pipeline_tag" not in page  # the hub's tags are about images
    assert run_cli("pull", "me/blocks", "--download", "--out", tmp_path / "weights").code == 0
    np.save(tmp_path / "points.npy", np.random.default_rng(1).normal(size=(40, 3)))
    result = run_cli("predict", tmp_path / "weights", tmp_path / "points.npy", tmp_path / "found.json")
    assert result.code == 0, result.err


def test_export_refuses_point_clouds(points_run, tmp_path):
    message = run_rejected("export", points_run, tmp_path / "model.onnx")
    assert "is a network of points" in message
    assert "`dimlift predict`" in message
    assert not (tmp_path / "model.onnx").exists()


def test_model_page_of_pretraining_states_init_from(tmp_path):
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
    assert run_cli("push", folder, *PUSH, "--preview", tmp_path / "page.md").code == 0
    page = (tmp_path / "page.md").read_text()
    assert "arm.init_from=weights" in page
    assert "dimlift predict" not in page
