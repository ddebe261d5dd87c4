"""Lifted networks can be copied, pickled, saved and sent to spawned processes, with bit-identical outputs."""

import copy
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import joblib
import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import PlanError
from dimlift.lifting import registry
from dimlift.lifting.registry import ConvType, register_conv
from lifting.families import FAMILIES, build, run_network
from lifting.test_attention_laws import OTHERS, small

BY_NAME = {family.name: family for family in FAMILIES}
PLANS = {
    "full": DepthPlan(kernel=3),
    "factorised": DepthPlan(kernel=3, factorised=True),
    "attention": DepthPlan(kernel=1, attention="volume"),
    "planecycle": DepthPlan(kernel=1, attention="planecycle"),
    "depth pool": DepthPlan(kernel=3, depth_pool=(2,)),
    "pool and norm": DepthPlan(kernel=1, pool="volume", norm="volume"),
}


def pickled(lifted):
    return pickle.loads(pickle.dumps(lifted))


def saved(lifted):
    buffer = io.BytesIO()
    torch.save(lifted, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def dumped(lifted):
    buffer = io.BytesIO()
    joblib.dump(lifted, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def check_copy(lifted, size, make_copy):
    lifted = lifted.eval()
    weight = next(lifted.parameters())
    volume = torch.randn(1, lifted.in_channels, 3, size, size, dtype=weight.dtype)
    copied = make_copy(lifted)
    assert [type(m).__name__ for m in copied.modules()] == [type(m).__name__ for m in lifted.modules()]
    for output, expected in zip(run_network(copied, volume), run_network(lifted, volume), strict=True):
        assert torch.equal(output, expected)
    assert list(copied.state_dict()) == list(lifted.state_dict())
    assert not {p.data_ptr() for p in copied.parameters()} & {p.data_ptr() for p in lifted.parameters()}


ALWAYS = ("full", "factorised", "pool and norm")
"""Plans of every network; the others need attention, a stack of blocks, or stages."""

EVERY_PLAN = ("test_resnet", "convnext_atto", "test_vit", "swin_tiny_patch4_window7_224")
"""Families tried with every plan in the quick suite; the others with one."""


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(
            family,
            name,
            marks=[] if name == "full" or family.name in EVERY_PLAN else pytest.mark.slow,
            id=f"{family.name}-{name}",
        )
        for family in FAMILIES
        for name in PLANS
    ],
)
def test_pickling_keeps_outputs_of_every_family_and_plan(family, name):
    try:
        lifted = dimlift.lift(build(family, torch.float32), PLANS[name], certify=False)
    except PlanError:
        assert name not in ALWAYS
        return
    check_copy(lifted, family.size, pickled)


@pytest.mark.parametrize("family", OTHERS, ids=lambda family: family.name)
def test_pickling_keeps_outputs_of_every_attention_type(family):
    check_copy(dimlift.lift(small(family), DepthPlan(kernel=1, attention=2), certify=False), family.size, pickled)


@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.parametrize("name", ["vit", "dinov2", "swin", "convnext"])
def test_pickling_keeps_outputs_of_transformers_models(name, features_only):
    from lifting.twins import CASES

    make_network, *_ = CASES[name]
    lifted = dimlift.lift(make_network(), PLANS["full"], features_only=features_only, certify=False)
    check_copy(lifted, 64 if name == "swin" else 32, pickled)


@pytest.mark.parametrize("make_copy", [copy.deepcopy, pickled, saved, dumped], ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", ["test_nfnet", "vit_tiny_patch16_224"])
def test_copies_keep_outputs(name, make_copy):
    family = BY_NAME[name]
    plan = PLANS["full"] if name == "test_nfnet" else PLANS["planecycle"]
    check_copy(dimlift.lift(build(family, torch.float32), plan, in_chans=1), family.size, make_copy)


def test_module_patched_twice_is_pickled():
    family = BY_NAME["eva02_tiny_patch14_224"]
    lifted = dimlift.lift(build(family, torch.float32), PLANS["attention"], certify=False)
    check_copy(pickled(lifted), family.size, pickled)


def test_certificate_and_report_are_pickled():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(kernel=3), features_only=True)
    copied = pickled(lifted)
    assert copied.certificate == lifted.certificate
    assert copied.weights_report == lifted.weights_report
    assert copied.strides == lifted.strides


class DoublingConv(nn.Conv2d):
    """A convolution that overrides forward."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_convolution_with_unpicklable_registration_is_pickled(monkeypatch):
    monkeypatch.setitem(registry.CONV_TYPES, "DoublingConv", None)
    register_conv("DoublingConv", ConvType(same_padding=lambda conv: False))
    check_copy(dimlift.lift(DoublingConv(1, 2, 3), certify=False), 8, pickled)


def test_spawned_process_runs_pickled_network():
    family = BY_NAME["vit_tiny_patch16_224"]
    lifted = dimlift.lift(build(family, torch.float32), DepthPlan(kernel=2, stride="kernel", attention=2)).eval()
    volume = torch.randn(1, 3, 4, family.size, family.size)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outputs = pool.submit(run_network, lifted, volume).result(timeout=120)
    for output, expected in zip(outputs, run_network(lifted, volume), strict=True):
        assert torch.equal(output, expected)
