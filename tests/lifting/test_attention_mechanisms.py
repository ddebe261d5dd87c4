"""Which slices depend on one another under each type of attention, and how attention layers are registered."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError
from dimlift.lifting import registry
from dimlift.lifting.fold import Fold, fold_context
from dimlift.lifting.layers.attention.enable_spanning import enable_spanning
from dimlift.lifting.layers.spanning import spanning_interceptor
from dimlift.lifting.registry import AttentionType, register_attention
from lifting.families import build
from lifting.test_attention_laws import OTHERS, PLAIN, small

BY_NAME = {family.name: family for family in [*PLAIN, *OTHERS]}
NETWORKS = ["vit_tiny_patch16_224", "cait_xxs24_224", "torchvision vision transformer"]
"""One that calls scaled_dot_product_attention, one with manual attention, one with attention over a token set."""


class BiasedAttention(nn.Module):
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


class Fused(BiasedAttention):
    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, self.bias).transpose(1, 2).flatten(2)


@pytest.fixture
def register(monkeypatch):
    monkeypatch.setattr(registry, "ATTENTION_TYPES", dict(registry.ATTENTION_TYPES))
    return lambda kind: register_attention("test_attention_mechanisms.BiasedAttention", AttentionType(kind))


@pytest.mark.parametrize("window", [2, 3, "volume"])
@pytest.mark.parametrize("layer_index", [0, 1])
def test_manual_attention_equals_fused_attention(register, window, layer_index):
    register("manual")
    manual, fused = nn.Sequential(BiasedAttention()).double(), Fused().double()
    fused.load_state_dict(manual[0].state_dict())
    assert enable_spanning(manual, window) == ("0",)
    batch, depth, extra = 2, 5, 3
    x = torch.randn(batch * depth * extra, 6, 8, dtype=torch.float64, requires_grad=True)
    grads, outs = [], []
    for layer in (manual, fused):
        fold = Fold(batch, depth, batch * depth, attention_calls=layer_index)
        with fold_context(fold, spanning_interceptor(DepthPlan(attention=window), False)):
            outs.append(layer(x))
        grads.append(torch.autograd.grad(outs[-1].square().sum(), x)[0])
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("window", [2, "volume"])
def test_token_set_attention_joins_slices_of_window_once(window):
    """The call inside the layer must not join slices again."""
    from timm.models.xcit import XCA

    layer = nn.Sequential(XCA(8, 2)).double()
    for fused in (True, False):
        layer[0].fused_attn = fused
        batch, depth, extra = 1, 4, 4
        x = torch.randn(batch, depth, extra, 5, 8, dtype=torch.float64)
        size = depth if window == "volume" else window
        with torch.no_grad():
            joined = x.transpose(1, 2).reshape(-1, size * 5, 8)  # (extra * windows, tokens of the window, channels)
            expected = XCA.forward(layer[0], joined).reshape(batch, extra, depth, 5, 8).transpose(1, 2)
            spanning = copy.deepcopy(layer)
            enable_spanning(spanning, window)
            interceptor = spanning_interceptor(DepthPlan(attention=window), False)
            with fold_context(Fold(batch, depth, batch * depth), interceptor):
                outputs = spanning(x.flatten(0, 2)).view_as(x)
        torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("kind", ["manual", "token_set"])
def test_register_attention_enables_spanning_and_lift_detects_wrong_kind(register, kind):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, stride=4)
            self.attn = BiasedAttention(tokens=256)
            nn.init.normal_(self.attn.heads.bias)

        def forward(self, x):
            x = self.embed(x)
            return [self.attn(x.flatten(2).mT).mT.reshape(x.shape)]

    plan = DepthPlan(kernel=1, attention="volume")
    with pytest.raises(
        PlanError, match=r"register_attention\('test_attention_mechanisms.BiasedAttention', AttentionType\('manual'"
    ):
        dimlift.lift(Network(), plan)
    register(kind)
    if kind == "manual":
        assert dimlift.lift(Network(), plan).certificate.holds
    else:  # its bias covers the tokens of one slice
        with pytest.raises((LiftError, RuntimeError)):
            dimlift.lift(Network(), plan)


def test_manual_attention_names_layer_without_attention(register):
    class NoAttention(BiasedAttention):
        def forward(self, x):
            return self.qkv(x)[..., :8]

    register_attention("NoAttention", AttentionType("manual"))
    layer = nn.Sequential(NoAttention())
    enable_spanning(layer, "volume")
    with fold_context(Fold(1, 2, 2)), pytest.raises(LiftError, match=r"NoAttention.*ended unscored"):
        layer(torch.randn(2, 6, 8))


def dependent_slices(lifted, depth=6, changed=2, side=32):
    """Return the slices whose output changes when one slice does."""
    volume = torch.randn(1, 3, depth, side, side, dtype=torch.float64)
    other = volume.clone()
    other[:, :, changed] += 1
    outputs = []
    hook = lifted.network.get_submodule(last_block(lifted)).register_forward_hook(lambda *a: outputs.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    hook.remove()
    change = (outputs[0] - outputs[1]).unflatten(0, (depth, -1)).abs().flatten(1).amax(1)
    return {index for index, value in enumerate(change) if value > 1e-12}


def last_block(lifted, count=2):
    """Return the name of the second block; the name of the stack differs between libraries."""
    names = [
        n for n, m in lifted.network.named_modules() if isinstance(m, nn.Sequential | nn.ModuleList) and len(m) == 4
    ]
    stack = lifted.network.get_submodule(names[0])
    return f"{names[0]}.{list(dict(stack.named_children()))[count - 1]}"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("attention", "expected"),
    [("per_slice", {2}), (2, {1, 2, 3, 4}), (4, set(range(6))), (1, {2}), ("volume", set(range(6)))],
)
def test_two_blocks_depend_on_slices_of_their_windows(name, attention, expected):
    """Windows of two: {2, 3} in the first block, then {1, 2} and {3, 4}, but not 0 or 5."""
    lifted = dimlift.lift(small(BY_NAME[name]), DepthPlan(kernel=1, attention=attention), certify=False)
    assert dependent_slices(lifted) == expected


def test_one_block_depends_on_its_window_only():
    lifted = dimlift.lift(small(BY_NAME[NETWORKS[0]]), DepthPlan(kernel=1, attention=2), certify=False)
    volume = torch.randn(1, 3, 6, 32, 32, dtype=torch.float64)
    other = volume.clone()
    other[:, :, 2] += 1
    outputs = []
    lifted.network.model.blocks[0].register_forward_hook(lambda *a: outputs.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    change = (outputs[0] - outputs[1]).abs().flatten(1).amax(1)
    assert [index for index, value in enumerate(change) if value > 1e-12] == [2, 3]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_swin_windows_keep_their_position_in_the_slice(name):
    """A window covers 4 x 4 patches of each slice: a change in a corner changes the same corner of other slices."""
    network = small(BY_NAME[name])
    lifted = dimlift.lift(network, DepthPlan(kernel=1, attention="volume"), certify=False)
    volume = torch.randn(1, 3, 3, 64, 64, dtype=torch.float64)
    other = volume.clone()
    other[:, :, 1, :16, :16] += 1
    outputs = []
    first = next(m for n, m in lifted.network.named_modules() if n.endswith("blocks.0"))
    first.register_forward_hook(lambda *a: outputs.append(a[2]))
    with torch.no_grad():
        lifted(volume), lifted(other)
    change = (outputs[0] - outputs[1]).abs().amax(-1) > 1e-12  # (slices, 16, 16)
    assert change[:, :4, :4].all()
    assert not change[:, 4:].any()
    assert not change[:, :, 4:].any()


@pytest.mark.parametrize("attention", [2, "volume", "planecycle"])
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "cait_xxs24_224", "beit_base_patch16_224"])
def test_threads_and_checkpointing_keep_outputs_and_gradients(name, attention):
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
        expected = [lifted(v)[-1] for v in volumes]
    outputs: dict[int, list] = {0: [], 1: []}

    def work(index):
        with torch.no_grad():
            outputs[index] += [lifted(volumes[index])[-1] for _ in range(4)]

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        assert len(outputs[index]) == 4
        for out in outputs[index]:
            torch.testing.assert_close(out, expected[index], rtol=0, atol=1e-12)
