"""spconv: equal features and gradients for the same rulebook, and the conditions for its use."""

import sys
from types import SimpleNamespace

import pytest
import torch

from dimlift.errors import ConfigError, UnknownNameError
from dimlift.models.sparse_unet import build_pyramid, sr_unet18
from dimlift.ops import spconv_backend
from dimlift.ops.sparse_conv import sparse_conv, strided_rulebook, submanifold_rulebook
from dimlift.ops.spconv_backend import sparse_backend, uses_spconv


def voxels(count=150):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(-4, 4, (count, 4), generator=draw).remainder(torch.tensor([2, 99, 99, 99])).unique(dim=0)


def kinds():
    """Return rulebooks by name, each with its number of input rows."""
    coordinates = voxels()
    down, coarse = strided_rulebook(coordinates)
    return {
        "identity": (submanifold_rulebook(coordinates, 1), len(coordinates)),
        "submanifold": (submanifold_rulebook(coordinates), len(coordinates)),
        "submanifold, kernel of 5": (submanifold_rulebook(coordinates, 5), len(coordinates)),
        "strided": (down, len(coordinates)),
        "inverse": (down.transposed(len(coordinates)), len(coarse)),
    }


@pytest.fixture
def spconv(monkeypatch):
    """Enable spconv on the CPU: its wheel without CUDA queries a GPU stream in the backward pass."""
    pytest.importorskip("spconv.pytorch", reason="needs the extra `spconv`")
    if spconv_backend._spconv_devices() == ("cpu",):
        monkeypatch.setattr("spconv.pytorch.ops.get_current_stream", lambda: 0)


@pytest.fixture
def built(monkeypatch):
    """Return a function that pretends that spconv was built for some devices."""
    return lambda *devices: monkeypatch.setattr(spconv_backend, "_spconv_devices", lambda: devices)


@pytest.mark.parametrize("kind", kinds())
def test_spconv_matches_reference(kind, spconv):
    rules, rows = kinds()[kind]
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(rows, 3, generator=draw, requires_grad=True)
    weight = torch.randn(len(rules.taps), 3, 4, generator=draw, requires_grad=True)
    grad, results = torch.randn(rules.outputs, 4, generator=draw), {}
    for backend in ("dimlift", "spconv"):
        with sparse_backend(backend):
            output = sparse_conv(features, weight, rules)
        results[backend] = (output, *torch.autograd.grad(output, (features, weight), grad))
        assert (type(output.grad_fn).__name__ == "SparseConvFunctionBackward") == (backend == "spconv")
    for ours, theirs in zip(results["dimlift"], results["spconv"], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_network_is_equal_with_either_backend(spconv):
    torch.manual_seed(0)
    network, coordinates = sr_unet18(3, 5, width_multiplier=0.1).eval(), voxels()
    features, rules, results = torch.randn(len(coordinates), 3), build_pyramid(coordinates), {}
    for backend in ("dimlift", "spconv"):
        network.zero_grad()
        with sparse_backend(backend):
            output = network(features, rules)
        output.square().sum().backward()
        results[backend] = [output.detach(), *(weight.grad for weight in network.parameters())]
    for ours, theirs in zip(results["dimlift"], results["spconv"], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4 * max(1, float(ours.abs().max())))


def test_spconv_disables_autocast(spconv, monkeypatch):
    """spconv would use float16 for any mixed precision, bfloat16 included."""
    mixed = []
    monkeypatch.setattr(
        "spconv.pytorch.functional.indice_conv", lambda *given: mixed.append(torch.is_autocast_enabled("cpu"))
    )
    rules, rows = kinds()["strided"]
    with torch.autocast("cpu", torch.bfloat16):
        spconv_backend.spconv_conv(torch.randn(rows, 3), torch.randn(8, 3, 4), *rules.pairs, rules.outputs)
    assert mixed == [False]


def test_spconv_accepts_no_voxels(built):
    built("cpu", "cuda")
    with sparse_backend("spconv"):
        empty = submanifold_rulebook(torch.zeros(0, 4, dtype=torch.int64))
        assert sparse_conv(torch.zeros(0, 3), torch.zeros(27, 3, 2), empty).shape == (0, 2)


@pytest.mark.parametrize("kind", kinds())
def test_rulebook_pairs_match_taps(kind):
    rules, _ = kinds()[kind]
    pairs, counts = rules.pairs
    assert pairs.dtype == counts.dtype == torch.int32
    for tap, sides, count in zip(rules.taps, pairs.unbind(1), counts, strict=True):
        assert torch.equal(sides[0, :count], tap.source.int())
        assert torch.equal(sides[1, :count], tap.target.int())
        assert (sides[:, count:] == -1).all()
    assert rules.pairs[0] is pairs  # cached


ON_GPU, ON_CPU = (SimpleNamespace(is_cuda=gpu, device=torch.device("cuda" if gpu else "cpu")) for gpu in (1, 0))


def features_like(place, dtype=torch.float32):
    """Return the attributes of a tensor that are used, without a GPU."""
    return SimpleNamespace(**vars(place), dtype=dtype)


def test_uses_spconv_requires_matching_build(built):
    built("cpu", "cuda")
    assert uses_spconv(features_like(ON_GPU))
    assert not uses_spconv(features_like(ON_CPU))
    assert not uses_spconv(features_like(ON_GPU, torch.bfloat16))
    with sparse_backend("dimlift"):
        assert not uses_spconv(features_like(ON_GPU))
    built("cpu")
    assert not uses_spconv(features_like(ON_GPU))
    built()
    assert not uses_spconv(features_like(ON_GPU))


def test_uses_spconv_is_false_in_deterministic_mode(built):
    built("cpu", "cuda")
    torch.use_deterministic_algorithms(True)
    try:
        assert not uses_spconv(features_like(ON_GPU))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("devices", "features", "fix"),
    [
        ((), features_like(ON_CPU), r"pip install 'dimlift\[spconv\]'"),
        (("cpu",), features_like(ON_GPU), "spconv-cu126"),
        (("cpu", "cuda"), features_like(ON_GPU, torch.bfloat16), "float32 and float16, not torch.bfloat16"),
    ],
)
def test_forced_spconv_reports_why_it_is_unsupported(devices, features, fix, built):
    built(*devices)
    with sparse_backend("spconv"), pytest.raises(ConfigError, match=fix):
        uses_spconv(features)
    assert not uses_spconv(features)  # spconv is forced only inside the block


def test_sparse_backend_rejects_unknown_name():
    with pytest.raises(UnknownNameError, match="automatic, dimlift, spconv"), sparse_backend("cudnn"):
        pass


def test_spconv_devices_is_empty_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv", None)
    monkeypatch.setitem(sys.modules, "spconv.cppconstants", None)
    assert spconv_backend._spconv_devices.__wrapped__() == ()
