"""Attention that cannot be made to span slices is named, and never passed off as spanning."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import PlanError
from lifting.families import answers

JOINT = DepthPlan(kernel=1, attention="joint")


class ByHand(nn.Module):
    """Attention written out."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.qkv, self.linear = nn.Linear(8, 24), linear

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.linear:
            return F.relu(q) @ (F.relu(k).transpose(-2, -1) @ v)
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v


class LinearAttention(ByHand):
    """No softmax: known by its name only."""

    def __init__(self) -> None:
        super().__init__(linear=True)


class Fused(ByHand):
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
@pytest.mark.parametrize("layer", [ByHand, LinearAttention])
def test_it_is_refused_where_none_can_span(layer, certify):
    with pytest.raises(PlanError, match=r"attention='joint', but no attention.*attention\.a.* computes it otherwise"):
        dimlift.lift(Tokens(a=layer()), JOINT, certify=certify)


@pytest.mark.parametrize("layer", [ByHand, LinearAttention])
def test_it_is_named_where_some_cannot(layer):
    network = Tokens(a=Fused(), b=layer(), c=Fused())
    lifted = dimlift.lift(network, JOINT)
    assert lifted.attention_within_slices == ("attention.b",)
    assert "stays within each slice in 1 layer(s)" in str(lifted.certificate)
    assert "attention.b" in str(lifted.certificate.to_json()["notes"])
    with pytest.warns(UserWarning, match=r"attention\.b"):
        dimlift.lift(network, JOINT, certify=False)


def test_nothing_is_named_where_all_spans_or_nothing_should(recwarn):
    spans = Tokens(a=Fused(), b=OneCallAttention())
    for network, plan in ((spans, JOINT), (Tokens(a=ByHand()), DepthPlan(kernel=1))):
        lifted = dimlift.lift(network, plan, certify=False)
        assert lifted.attention_within_slices == ()
    assert not recwarn.list


def test_slices_reach_each_other_only_through_layers_that_are_not_named():
    volume = torch.randn(1, 3, 2, 16, 16)
    changed = volume.clone()
    changed[:, :, 1] += 1
    lifted = dimlift.lift(Tokens(a=Fused(), b=ByHand()), JOINT).eval()
    for reaches in (True, False):
        before, after = (answers(lifted, v)[0][:, :, 0] for v in (volume, changed))
        assert bool((before - after).abs().max() > 1e-6) == reaches
        lifted.network.attention["a"] = nn.Identity()
