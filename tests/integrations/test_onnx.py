"""ONNX export: equal outputs in onnxruntime, dynamic axes, errors."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import dimlift
from dimlift.errors import ExportError
from dimlift.inference.predictor import Predictor
from dimlift.integrations import onnx
from dimlift.integrations.onnx import export_onnx, write_onnx
from dimlift.models.classifier import Classifier
from dimlift.models.pad_to_multiple import PadToMultiple
from dimlift.models.segmenter import Segmenter
from dimlift.studies.train import train
from small_runs import train_config

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def onnx_logits(path, volume):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"volume": volume.numpy()})[0]


PLAN = dimlift.DepthPlan(kernel=3, inflation="average")


def small():
    flat = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return dimlift.lift(flat, PLAN, in_chans=1, certify=False)


def classifier():
    return Classifier(dimlift.lift("timm:test_vit", PLAN, in_chans=1, features_only=True, certify=False), 3)


def segmenter():
    return Segmenter(dimlift.lift("timm:test_resnet", PLAN, in_chans=1, features_only=True, certify=False), 3)


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (small, 16),
        pytest.param(classifier, 160, marks=pytest.mark.slow),
        pytest.param(segmenter, 32, marks=pytest.mark.slow),
    ],
)
def test_write_onnx_lifted_network_with_dynamic_batch_and_depth(build, size, tmp_path):
    network = build().eval()
    exported = write_onnx(network, torch.randn(2, 1, 4, size, size), tmp_path / "model.onnx")
    assert exported.dynamic == {"batch": 1, "depth": 1}
    volume = torch.randn(1, 1, 7, size, size)
    with torch.no_grad():
        expected = network(volume).numpy()
    found = onnx_logits(exported.path, volume)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_export_onnx_stores_the_card_and_a_depth_multiple(data, tmp_path):
    """The skips of a U-Net need a depth that is a multiple of its strides."""
    train(train_config(data, budget={"steps": 1}), tmp_path / "run")
    exported = export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    network = Predictor.load(tmp_path / "run/weights").method.eval()
    (step,) = {module.multiple[0] for module in network.modules() if isinstance(module, PadToMultiple)}
    assert exported.dynamic == {"batch": 1, "depth": step}
    assert step > 1
    assert exported.shape == (2, 1, 8, 8, 8)
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, f"{step}*depth_steps", 8, 8]
    volume = torch.randn(1, 1, 8 + 2 * step, 8, 8)
    with torch.no_grad():
        expected = network(volume).numpy()
    np.testing.assert_allclose(onnx_logits(exported.path, volume), expected, atol=1e-4 * np.abs(expected).max())
    card = json.loads(session.get_modelmeta().custom_metadata_map["dimlift"])
    assert card == json.loads((tmp_path / "run/weights/model.json").read_text())


class FourSlices(nn.Module):
    """Works on four slices only."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, volume):
        return volume * self.scale


def test_write_onnx_fixes_axes_that_cannot_be_dynamic(tmp_path):
    exported = write_onnx(FourSlices(), torch.randn(2, 1, 4, 4, 4), tmp_path / "model.onnx")
    assert exported.dynamic == {"batch": 1}
    assert exported.axes[2] == ("depth", 4)


@torch.library.custom_op("dimlift_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@doubled.register_fake
def _(x):
    return torch.empty_like(x)


class Unsupported(nn.Module):
    def forward(self, volume):
        return doubled(volume)


def test_write_onnx_names_unsupported_operators(tmp_path):
    with pytest.raises(ExportError, match=r"operator dimlift_tests.doubled has no ONNX .*dimlift predict"):
        write_onnx(Unsupported(), torch.zeros(2, 1, 4, 4, 4), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_write_onnx_refuses_different_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_difference", lambda *_: 0.5)
    with pytest.raises(ExportError, match=r"differs from torch by 5.0e-01"):
        write_onnx(nn.Conv3d(1, 1, 1), torch.zeros(2, 1, 4, 4, 4), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_difference_compares_outputs(tmp_path):
    network = nn.Conv3d(1, 1, 1).eval()
    exported = write_onnx(network, torch.randn(2, 1, 4, 4, 4), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        network.bias += 10
    assert onnx._difference(network, session, torch.randn(1, 1, 4, 4, 4)) > 0.5


def test_export_onnx_refuses_methods_with_extra_inputs(data, tmp_path):
    arm = {"method": "frozen_features", "network": "filters", "upsample": 1.0, "widths": [4, 8], "planes": ["depth"]}
    train(train_config(data, budget={"steps": 1}, arm=arm), tmp_path / "run")
    with pytest.raises(ExportError, match=r"frozen_features needs 2D features beside the image.*dimlift predict"):
        export_onnx(tmp_path / "run", tmp_path / "model.onnx")


def test_write_onnx_names_a_missing_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"dimlift\[onnx\]"):
        write_onnx(nn.Conv3d(1, 1, 1), torch.zeros(2, 1, 4, 4, 4), tmp_path / "model.onnx")
