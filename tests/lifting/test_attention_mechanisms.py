"""Which slices a slice hears of, through each way of attending; what a window reaches; how layers are registered."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.fold import Fold, folded_as
from dimlift.lifting.layers.attention import registry
from dimlift.lifting.layers.attention.call_interceptor import Spanning
from dimlift.lifting.layers.attention.registry import Family, let_span, register_attention
from lifting.families import build
from lifting.test_attention_laws import OTHERS, PLAIN, small

BY_NAME = {family.name: family for family in [*PLAIN, *OTHERS]}
WAYS = ["vit_tiny_patch16_224", "cait_xxs24_224", "torchvision vision transformer"]
"""One network that calls scaled_dot_product_attention, one that writes attention out, one whose layer takes a set."""


class HandAttention(nn.Module):
    """Bias for each pair of tokens, two heads that are mixed after the softmax."""

    def __init__(self, tokens: int = 6) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.bias = nn.Parameter(torch.randn(2, tokens, tokens))
        self.heads = nn.Linear(2, 2)
        nn.init.eye_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / 2 + self.bias).softmax(-1)
        weights = self.heads(weights.movedim(1, -1)).movedim(-1, 1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Fused(HandAttention):
    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, self.bias).transpose(1, 2).flatten(2)


@pytest.fixture
def register(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", dict(registry.FAMILIES))
    return lambda way: register_attention("test_attention_mechanisms.HandAttention", Family(way))


@pytest.mark.parametrize("window", [2, 3, "joint"])
@pytest.mark.parametrize("turn", [0, 1])
def test_attention_written_out_does_what_the_one_call_does(register, window, turn):
    register("written")
    by_hand, fused = nn.Sequential(HandAttention()).double(), Fused().double()
    fused.load_state_dict(by_hand[0].state_dict())
    assert let_span(by_hand, window) == ("0",)
    batch, depth, extra = 2, 5, 3
    x = torch.randn(batch * depth * extra, 6, 8, dtype=torch.float64, requires_grad=True)
    grads, outs = [], []
    for layer in (by_hand, fused):
        with folded_as(Fold(batch, depth, batch * depth, attended=turn)), Spanning(DepthPlan(attention=window), False):
            outs.append(layer(x))
        grads.append(torch.autograd.grad(outs[-1].square().sum(), x)[0])
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("window", [2, "joint"])
def test_a_set_of_tokens_is_that_of_all_slices_in_the_window(window):
    """Not more: the call inside the layer is not laid side by side once more."""
    from timm.models.xcit import XCA

    layer = nn.Sequential(XCA(8, 2)).double()
    for fused in (True, False):
        layer[0].fused_attn = fused
        batch, depth, extra = 1, 4, 4
        x = torch.randn(batch, depth, extra, 5, 8, dtype=torch.float64)
        size = depth if window == "joint" else window
        with torch.no_grad():
            joined = x.transpose(1, 2).reshape(-1, size * 5, 8)  # (extra * windows, tokens of the window, channels)
            wanted = XCA.forward(layer[0], joined).reshape(batch, extra, depth, 5, 8).transpose(1, 2)
            spanning = copy.deepcopy(layer)
            let_span(spanning, window)
            with folded_as(Fold(batch, depth, batch * depth)), Spanning(DepthPlan(attention=window), False):
                given = spanning(x.flatten(0, 2)).view_as(x)
        torch.testing.assert_close(given, wanted)


@pytest.mark.parametrize("way", ["written", "set"])
def test_a_layer_can_be_registered_and_it_is_noticed_if_that_was_wrong(register, way):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, stride=4)
            self.attn = HandAttention(tokens=256)
            nn.init.normal_(self.attn.heads.bias)

        def forward(self, x):
            x = self.embed(x)
            return [self.attn(x.flatten(2).mT).mT.reshape(x.shape)]

    plan = DepthPlan(kernel=1, attention="joint")
    with pytest.raises(
        PlanError, match=r"register_attention\('test_attention_mechanisms.HandAttention', Family\('written'"
    ):
        dimlift.lift(Network(), plan)
    register(way)
    if way == "written":
        assert dimlift.lift(Network(), plan).certificate.holds
    else:  # its bias is for the tokens of one slice
        with pytest.raises((CannotLift, RuntimeError)):
            dimlift.lift(Network(), plan)


def test_what_is_not_written_out_as_said_is_named(register):
    class HandAttentionOnce(HandAttention):
        def forward(self, x):
            return self.qkv(x)[..., :8]

    register_attention("HandAttentionOnce", Family("written"))
    layer = nn.Sequential(HandAttentionOnce())
    let_span(layer, "joint")
    with folded_as(Fold(1, 2, 2)), pytest.raises(CannotLift, match=r"HandAttentionOnce.*ended unscored"):
        layer(torch.randn(2, 6, 8))


def hearers(lifted, depth=6, changed=2, side=32):
    """Slices whose answer changes when one slice does."""
    volume = torch.randn(1, 3, depth, side, side, dtype=torch.float64)
    other = volume.clone()
    other[:, :, changed] += 1
    seen = []
    hook = lifted.network.get_submodule(last_block(lifted)).register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    hook.remove()
    moved = (seen[0] - seen[1]).unflatten(0, (depth, -1)).abs().flatten(1).amax(1)
    return {index for index, much in enumerate(moved) if much > 1e-12}


def last_block(lifted, count=2):
    """The second block: the name of the column differs from library to library."""
    names = [
        n for n, m in lifted.network.named_modules() if isinstance(m, nn.Sequential | nn.ModuleList) and len(m) == 4
    ]
    column = lifted.network.get_submodule(names[0])
    return f"{names[0]}.{list(dict(column.named_children()))[count - 1]}"


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("attention", "heard"), [("slice", {2}), (2, {1, 2, 3, 4}), (4, set(range(6))), (1, {2}), ("joint", set(range(6)))]
)
def test_two_blocks_hear_as_far_as_their_windows_reach(name, attention, heard):
    """Windows of two: {2, 3} in the first block, then {1, 2} and {3, 4}, and never 0 or 5."""
    lifted = dimlift.lift(small(BY_NAME[name]), DepthPlan(kernel=1, attention=attention), certify=False)
    assert hearers(lifted) == heard


def test_one_block_hears_its_window_only():
    lifted = dimlift.lift(small(BY_NAME[WAYS[0]]), DepthPlan(kernel=1, attention=2), certify=False)
    volume = torch.randn(1, 3, 6, 32, 32, dtype=torch.float64)
    other = volume.clone()
    other[:, :, 2] += 1
    seen = []
    lifted.network.model.blocks[0].register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    moved = (seen[0] - seen[1]).abs().flatten(1).amax(1)
    assert [index for index, much in enumerate(moved) if much > 1e-12] == [2, 3]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_windows_of_swin_stay_where_they_are_in_the_slice(name):
    """A window over slices is 4 x 4 patches of each: what changes in a corner of a slice changes that of others."""
    network = small(BY_NAME[name])
    lifted = dimlift.lift(network, DepthPlan(kernel=1, attention="joint"), certify=False)
    volume = torch.randn(1, 3, 3, 64, 64, dtype=torch.float64)
    other = volume.clone()
    other[:, :, 1, :16, :16] += 1
    seen = []
    first = next(m for n, m in lifted.network.named_modules() if n.endswith("blocks.0"))
    first.register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    moved = (seen[0] - seen[1]).abs().amax(-1) > 1e-12  # (slices, 16, 16)
    assert moved[:, :4, :4].all()
    assert not moved[:, 4:].any()
    assert not moved[:, :, 4:].any()


@pytest.mark.parametrize("attention", [2, "joint", "planecycle"])
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "cait_xxs24_224", "beit_base_patch16_224"])
def test_two_depths_in_two_threads_and_checkpointing_change_nothing(name, attention):
    lifted = dimlift.lift(build(BY_NAME[name], torch.float64), DepthPlan(kernel=1, attention=attention), certify=False)
    volumes = [torch.randn(shape, dtype=torch.float64) for shape in [(1, 3, 4, 32, 32), (2, 3, 2, 32, 32)]]

    def gradients():
        lifted.zero_grad()
        losses = [lifted(v)[-1].square().mean() for v in volumes]
        for loss in losses:
            loss.backward()
        return [p.grad.clone() for p in lifted.parameters() if p.grad is not None]

    plain = gradients()
    lifted.set_grad_checkpointing()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)

    with torch.no_grad():
        wanted = [lifted(v)[-1] for v in volumes]
    given: dict[int, list] = {0: [], 1: []}

    def work(index):
        with torch.no_grad():
            given[index] += [lifted(volumes[index])[-1] for _ in range(4)]

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        assert len(given[index]) == 4
        for answer in given[index]:
            torch.testing.assert_close(answer, wanted[index], rtol=0, atol=1e-12)
