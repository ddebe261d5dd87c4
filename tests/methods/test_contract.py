"""The contract between methods and the rest of the library, checked for every registered method."""

import ast
import importlib
import json
import pkgutil
from pathlib import Path

import pytest
import torch
from torch import nn

import dimlift.methods
from dimlift.batch import IGNORE, PointBatch, VolumeBatch
from dimlift.config.method_config import MethodConfig
from dimlift.config.pretraining_config import Pretraining
from dimlift.errors import ConfigError
from dimlift.methods.method import Method
from dimlift.methods.registry import METHODS, PRETRAINING, methods_for
from small_methods import SMALL, small_arm, small_task

TRAINED = [name for name in METHODS if name != "external"]
USERS = ("training", "inference", "evaluation", "studies", "report")
"""Packages that may only use what `Method` declares."""


def built(name):
    torch.manual_seed(0)
    return small_arm(name).build(small_task(name), load_pretrained=False)


def batch_for(name):
    if METHODS[name].modality == "point_clouds":
        return PointBatch(torch.rand(2, 64, 3), torch.randint(0, 3, (2, 64)), ("a", "b"))
    task = small_task(name)
    image = torch.randn(2, 1, *task.patch_size)
    label = torch.tensor([0, 1]) if task.kind == "classification" else (image[:, 0] > 0).long()
    grid = [n // 2 for n in task.patch_size]
    features = torch.randn(2, 8, *grid) if name == "frozen_features" else None
    return VolumeBatch(image, label, ("a", "b"), features)


def test_every_method_has_small_options():
    assert SMALL.keys() == METHODS.keys()


def test_registry_covers_both_modalities():
    assert {**methods_for("volumes"), **methods_for("point_clouds")} == METHODS


@pytest.mark.parametrize("table", [METHODS, PRETRAINING])
def test_registered_names_are_those_of_the_configs(table):
    for name, config in table.items():
        assert issubclass(config, MethodConfig if table is METHODS else Pretraining)
        assert config.model_fields["method"].default == name


@pytest.mark.parametrize("name", TRAINED)
def test_method_declares_its_capabilities(name):
    method = built(name)
    assert isinstance(method, Method)
    assert isinstance(method.feature_stride, int)
    assert method.feature_stride >= 1
    assert isinstance(method.reads_whole_depth, bool)
    assert method.slice_margin is None or method.slice_margin >= 0
    assert isinstance(method.caches_features, bool)
    assert all(isinstance(note, str) for note in method.notes)
    json.dumps(method.report())


@pytest.mark.parametrize("name", TRAINED)
def test_method_groups_hold_each_trainable_parameter_once(name):
    method = built(name)
    groups = method.param_groups(0.5)
    assert all(group.keys() >= {"params", "lr", "name"} for group in groups)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert {id(parameter) for parameter in method.parameters() if parameter.requires_grad} <= set(ids)


@pytest.mark.parametrize("name", TRAINED)
def test_method_trains_one_step_and_predicts(name):
    method, batch = built(name).train(), batch_for(name)
    for progress in (0.0, 0.5, 1.0):
        method.on_progress(progress)
    loss = method.loss(batch)
    assert loss.shape == ()
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    method.eval()
    with torch.no_grad():
        if isinstance(batch, PointBatch):
            assert method(batch.points).shape == (2, 64, 3)
            return
        logits = method(batch.image) if batch.features is None else method(batch.image, batch.features)
        weights = method.slice_weights(batch.image[0])
    classifies = small_task(name).kind == "classification"
    assert logits.shape == ((2, 3) if classifies else (2, 3, *batch.image.shape[2:]))
    assert weights is None or weights.shape == (batch.image.shape[2],)


@pytest.mark.parametrize("name", TRAINED)
def test_method_returns_its_trainable_network(name):
    method = built(name)
    if name == "frozen_features":
        with pytest.raises(ConfigError, match="no network that can be pretrained"):
            method.trainable_network()
    else:
        assert method.trainable_network() is method.model


@pytest.mark.parametrize("name", ["unet", "resnet", "point_unet"])
def test_method_ignores_missing_labels(name):
    batch = batch_for(name)
    unlabelled = batch._replace(label=torch.full_like(batch.label, IGNORE))
    assert built(name).loss(unlabelled) == 0


def test_every_trainable_module_is_a_method():
    for found in pkgutil.walk_packages(dimlift.methods.__path__, "dimlift.methods."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, nn.Module) and "loss" in vars(value):
                assert issubclass(value, Method), f"{value.__name__} has a loss and is not a Method"


@pytest.mark.parametrize("package", USERS)
def test_undeclared_attributes_of_methods_are_not_probed(package):
    """`getattr(method, ...)` and `hasattr(method, ...)` would bypass the contract."""
    for path in (Path(dimlift.methods.__path__[0]).parent / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr")
            ):
                target = ast.unparse(node.args[0])
                assert target.split(".")[-1] != "method", f"{path}:{node.lineno} probes {target}"
