"""Attention that cannot be intercepted is reported, and never counted as spanning slices."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import PlanError
from lifting.families import run_network

JOINT = DepthPlan(kernel=1, attention="volume")


class ManualAttention(nn.Module):
    """Scores, softmax and weighted sum without scaled_dot_product_attention."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.qkv, self.linear = nn.Linear(8, 24), linear

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.linear:
            return F.relu(q) @ (F.relu(k).transpose(-2, -1) @ v)
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v


class LinearAttention(ManualAttention):
    """Attention without softmax, recognised by its class name only."""

    def __init__(self) -> None:
        super().__init__(linear=True)


class Fused(ManualAttention):
    def forward(self, x):
        return F.scaled_dot_product_attention(*self.qkv(x).chunk(3, -1))


class OneCallAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


class Tokens(nn.Module):
    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.ModuleDict(layers)
        self.flatten = nn.Flatten(2)
        self.never_called = LinearAttention()

    def forward(self, x):
        x = self.embed(x)
        tokens = self.flatten(x).transpose(1, 2)
        for layer in self.attention.values():
            tokens = tokens + layer(tokens)
        return [tokens.transpose(1, 2).reshape(x.shape)]


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("layer", [ManualAttention, LinearAttention])
def test_lift_rejects_plan_without_interceptable_attention(layer, certify):
    with pytest.raises(PlanError, match=r"attention='volume', but no attention.*\(attention\.a\)"):
        dimlift.lift(Tokens(a=layer()), JOINT, certify=certify)


@pytest.mark.parametrize("layer", [ManualAttention, LinearAttention])
def test_certificate_names_attention_within_slices(layer):
    network = Tokens(a=Fused(), b=layer(), c=Fused())
    lifted = dimlift.lift(network, JOINT)
    assert lifted.attention_within_slices == ("attention.b",)
    assert "stays within each slice in 1 layer(s)" in str(lifted.certificate)
    assert "attention.b" in str(lifted.certificate.to_json()["notes"])
    with pytest.warns(UserWarning, match=r"attention\.b"):
        dimlift.lift(network, JOINT, certify=False)


def test_certificate_names_no_attention_if_all_spans(recwarn):
    spanning = Tokens(a=Fused(), b=OneCallAttention())
    for network, plan in ((spanning, JOINT), (Tokens(a=ManualAttention()), DepthPlan(kernel=1))):
        lifted = dimlift.lift(network, plan, certify=False)
        assert lifted.attention_within_slices == ()
    assert not recwarn.list


def test_attention_within_slices_does_not_mix_slices():
    volume = torch.randn(1, 3, 2, 16, 16)
    changed = volume.clone()
    changed[:, :, 1] += 1
    lifted = dimlift.lift(Tokens(a=Fused(), b=ManualAttention()), JOINT).eval()
    for mixes in (True, False):
        before, after = (run_network(lifted, v)[0][:, :, 0] for v in (volume, changed))
        assert bool((before - after).abs().max() > 1e-6) == mixes
        lifted.network.attention["a"] = nn.Identity()
