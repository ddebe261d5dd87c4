"""Frozen networks."""

import copy

import torch
from torch import nn

from dimlift.methods.teachers.frozen_module import FrozenModule


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.teacher = FrozenModule(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)))


def test_frozen_module_stays_in_eval_mode():
    holder = Holder()
    holder.train()
    assert holder.own.training
    assert not any(module.training for module in holder.teacher.network.modules())
    holder.teacher.network.train()
    before = copy.deepcopy(holder.teacher.network.state_dict())
    x = torch.randn(8, 2)
    torch.testing.assert_close(holder.teacher(x), holder.teacher(x), rtol=0, atol=0)
    torch.testing.assert_close(holder.teacher.network.state_dict(), before, rtol=0, atol=0)


def test_frozen_module_is_excluded_from_parameters_and_state():
    holder = Holder()
    assert [name for name, _ in holder.named_parameters()] == ["own.weight", "own.bias"]
    assert list(holder.state_dict()) == ["own.weight", "own.bias"]
    x = torch.randn(3, 2, requires_grad=True)
    assert not holder.teacher(x).requires_grad
    assert not any(p.requires_grad for p in holder.teacher.network.parameters())


def test_frozen_module_is_shared_by_copies():
    holder = Holder()
    twin = copy.deepcopy(holder)
    assert twin.teacher is holder.teacher
    assert twin.own is not holder.own


def test_frozen_module_digest_depends_on_every_weight():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = FrozenModule(network).digest()
    assert FrozenModule(copy.deepcopy(network)).digest() == first
    for name in network.state_dict():
        changed = copy.deepcopy(network)
        changed.state_dict()[name].add_(1)
        assert FrozenModule(changed).digest() != first, name
