"""spconv follows our rulebook: the same features and the same gradients; and it computes only where it should."""

import sys
from types import SimpleNamespace

import pytest
import torch

from dimlift.errors import ConfigError, UnknownName
from dimlift.models.sparse_unet import pyramid, sr_unet18
from dimlift.ops import spconv_backend
from dimlift.ops.sparse_conv import sparse_convolution, strided, submanifold
from dimlift.ops.spconv_backend import computed_by, serves


def voxels(count=150):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(-4, 4, (count, 4), generator=draw).remainder(torch.tensor([2, 99, 99, 99])).unique(dim=0)


def kinds():
    """Rulebooks by name, each with the rows of its input."""
    coordinates = voxels()
    down, coarse = strided(coordinates)
    return {
        "every voxel itself": (submanifold(coordinates, 1), len(coordinates)),
        "submanifold": (submanifold(coordinates), len(coordinates)),
        "submanifold, kernel of 5": (submanifold(coordinates, 5), len(coordinates)),
        "strided": (down, len(coordinates)),
        "inverse": (down.reversed(len(coordinates)), len(coarse)),
    }


@pytest.fixture
def spconv(monkeypatch):
    """spconv on a processor. Its wheel without CUDA asks for a stream of the GPU before it goes backward."""
    pytest.importorskip("spconv.pytorch", reason="needs the extra `spconv`")
    if spconv_backend._devices() == ("cpu",):
        monkeypatch.setattr("spconv.pytorch.ops.get_current_stream", lambda: 0)


@pytest.fixture
def built(monkeypatch):
    """A spconv as if it were built for these devices."""
    return lambda *devices: monkeypatch.setattr(spconv_backend, "_devices", lambda: devices)


@pytest.mark.parametrize("kind", kinds())
def test_spconv_gives_the_same_features_and_gradients(kind, spconv):
    rules, rows = kinds()[kind]
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(rows, 3, generator=draw, requires_grad=True)
    weight = torch.randn(len(rules.taps), 3, 4, generator=draw, requires_grad=True)
    slope, found = torch.randn(rules.outputs, 4, generator=draw), {}
    for backend in ("dimlift", "spconv"):
        with computed_by(backend):
            answer = sparse_convolution(features, weight, rules)
        found[backend] = (answer, *torch.autograd.grad(answer, (features, weight), slope))
        assert (type(answer.grad_fn).__name__ == "SparseConvFunctionBackward") == (backend == "spconv")
    for ours, theirs in zip(found["dimlift"], found["spconv"], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_one_network_computed_by_either(spconv):
    torch.manual_seed(0)
    network, coordinates = sr_unet18(3, 5, share=0.1).eval(), voxels()
    features, rules, found = torch.randn(len(coordinates), 3), pyramid(coordinates), {}
    for backend in ("dimlift", "spconv"):
        network.zero_grad()
        with computed_by(backend):
            answer = network(features, rules)
        answer.square().sum().backward()
        found[backend] = [answer.detach(), *(weight.grad for weight in network.parameters())]
    for ours, theirs in zip(found["dimlift"], found["spconv"], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4 * max(1, float(ours.abs().max())))


def test_mixed_precision_does_not_reach_spconv(spconv, monkeypatch):
    """It would make float16 of any, bfloat16 included."""
    mixed = []
    monkeypatch.setattr(
        "spconv.pytorch.functional.indice_conv", lambda *given: mixed.append(torch.is_autocast_enabled("cpu"))
    )
    rules, rows = kinds()["strided"]
    with torch.autocast("cpu", torch.bfloat16):
        spconv_backend.convolution(torch.randn(rows, 3), torch.randn(8, 3, 4), *rules.pairs, rules.outputs)
    assert mixed == [False]


def test_nothing_is_left_of_no_voxels(built):
    built("cpu", "cuda")
    with computed_by("spconv"):
        empty = submanifold(torch.zeros(0, 4, dtype=torch.int64))
        assert sparse_convolution(torch.zeros(0, 3), torch.zeros(27, 3, 2), empty).shape == (0, 2)


@pytest.mark.parametrize("kind", kinds())
def test_pairs_are_the_taps(kind):
    rules, _ = kinds()[kind]
    pairs, counts = rules.pairs
    assert pairs.dtype == counts.dtype == torch.int32
    for tap, sides, count in zip(rules.taps, pairs.unbind(1), counts, strict=True):
        assert torch.equal(sides[0, :count], tap.source.int())
        assert torch.equal(sides[1, :count], tap.target.int())
        assert (sides[:, count:] == -1).all()
    assert rules.pairs[0] is pairs  # made once


ON_GPU, ON_PROCESSOR = (SimpleNamespace(is_cuda=gpu, device=torch.device("cuda" if gpu else "cpu")) for gpu in (1, 0))


def features_like(place, dtype=torch.float32):
    """What is asked of features, without the GPU."""
    return SimpleNamespace(**vars(place), dtype=dtype)


def test_it_computes_by_itself_for_a_gpu_it_was_built_for_and_nowhere_else(built):
    built("cpu", "cuda")
    assert serves(features_like(ON_GPU))
    assert not serves(features_like(ON_PROCESSOR))
    assert not serves(features_like(ON_GPU, torch.bfloat16))
    with computed_by("dimlift"):
        assert not serves(features_like(ON_GPU))
    built("cpu")
    assert not serves(features_like(ON_GPU))
    built()
    assert not serves(features_like(ON_GPU))


def test_it_does_not_compute_where_every_bit_is_to_come_again(built):
    built("cpu", "cuda")
    torch.use_deterministic_algorithms(True)
    try:
        assert not serves(features_like(ON_GPU))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("devices", "features", "remedy"),
    [
        ((), features_like(ON_PROCESSOR), r"pip install 'dimlift\[spconv\]'"),
        (("cpu",), features_like(ON_GPU), "spconv-cu126"),
        (("cpu", "cuda"), features_like(ON_GPU, torch.bfloat16), "float32 and float16, not torch.bfloat16"),
    ],
)
def test_what_forbids_spconv_is_said_where_it_must_compute(devices, features, remedy, built):
    built(*devices)
    with computed_by("spconv"), pytest.raises(ConfigError, match=remedy):
        serves(features)
    assert not serves(features)  # and outside nobody insists


def test_an_unknown_backend_is_refused():
    with pytest.raises(UnknownName, match="automatic, dimlift, spconv"), computed_by("cudnn"):
        pass


def test_without_the_package_it_is_built_for_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv", None)
    monkeypatch.setitem(sys.modules, "spconv.cppconstants", None)
    assert spconv_backend._devices.__wrapped__() == ()
