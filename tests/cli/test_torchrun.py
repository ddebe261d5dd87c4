"""`dimlift train` under `torchrun`: two processes compute what one process computes, with either strategy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent

RUN = (
    "task=classification",
    "arm.method=resnet",  # group norms and cross-entropy: the mean over volumes is the mean of the process means
    "arm.layers=10",
    "arm.widths=[16,16,16,16]",
    "budget.steps=4",
    "split.folds=3",
    "training.batch_size=4",
    "training.lr=0.0001",  # Adam's first steps amplify rounding errors to the size of gradients
    "training.patch_size=[8,8,8]",
    "training.device=cpu",
    "training.num_threads=1",
    "training.val_interval=0.5",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright and dark volumes, in one folder per class."""
    root = tmp_path_factory.mktemp("classes") / "data"
    for number in range(12):
        kind = "bright" if number % 2 else "dark"
        image = np.random.default_rng(number).normal(number % 2, 1, (8, 8, 8)).astype(np.float32)
        (root / kind).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), root / kind / f"case_{number:02d}.nii.gz")
    return root


def run_command(*command):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def record(out):
    (path,) = (out / "records").glob("*.json")
    return json.loads(path.read_text())


def test_torchrun_matches_single_process(data, tmp_path):
    run_command(BIN / "dimlift", "train", data, *RUN, "--out", tmp_path / "one")
    want, weights = record(tmp_path / "one"), load_file(tmp_path / "one/weights/model.safetensors")
    torchrun = (BIN / "torchrun", "--standalone", "--nproc-per-node", 2, "--no-python")
    for strategy in ("ddp", "fsdp"):
        out = tmp_path / strategy
        output = run_command(*torchrun, "dimlift", "train", data, *RUN, f"training.strategy={strategy}", "--out", out)
        assert output.count("weights: ") == 1, output  # only process 0 prints
        got = record(out)
        assert (got["run_id"], got["status"], got["extra"]["processes"]) == (want["run_id"], "finished", 2)
        assert got["history"][0]["loss"] == pytest.approx(want["history"][0]["loss"], rel=1e-6)
        assert [p["loss"] for p in got["history"]] == pytest.approx([p["loss"] for p in want["history"]], rel=5e-4)
        assert [p.get("accuracy") for p in got["history"]] == [p.get("accuracy") for p in want["history"]]
        assert [s["case"] for s in got["scores"]] == [s["case"] for s in want["scores"]]
        assert [s["value"] for s in got["scores"]] == pytest.approx([s["value"] for s in want["scores"]], abs=1e-3)
        found = load_file(out / "weights/model.safetensors")
        assert found.keys() == weights.keys()
        for name, value in weights.items():
            assert_close(found[name], value, rtol=0, atol=4e-4)
        assert not (out / "checkpoints").exists()
