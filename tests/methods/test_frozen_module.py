"""A frozen network cannot be woken, trained, or saved by the method that asks it."""

import copy

import torch
from torch import nn

from dimlift.methods.teachers.frozen_module import Frozen


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.teacher = Frozen(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)))


def test_the_teacher_stays_asleep():
    holder = Holder()
    holder.train()
    assert holder.own.training
    assert not any(module.training for module in holder.teacher.network.modules())
    holder.teacher.network.train()  # even a deliberate hand does not change an answer
    before = copy.deepcopy(holder.teacher.network.state_dict())
    x = torch.randn(8, 2)
    torch.testing.assert_close(holder.teacher(x), holder.teacher(x), rtol=0, atol=0)
    torch.testing.assert_close(holder.teacher.network.state_dict(), before, rtol=0, atol=0)


def test_it_is_in_no_optimiser_no_checkpoint_and_no_graph():
    holder = Holder()
    assert [name for name, _ in holder.named_parameters()] == ["own.weight", "own.bias"]
    assert list(holder.state_dict()) == ["own.weight", "own.bias"]
    x = torch.randn(3, 2, requires_grad=True)
    assert not holder.teacher(x).requires_grad
    assert not any(p.requires_grad for p in holder.teacher.network.parameters())


def test_a_copy_of_the_method_shares_it():
    holder = Holder()
    twin = copy.deepcopy(holder)
    assert twin.teacher is holder.teacher
    assert twin.own is not holder.own


def test_the_digest_follows_every_weight_and_buffer():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = Frozen(network).digest()
    assert Frozen(copy.deepcopy(network)).digest() == first
    for name in network.state_dict():
        changed = copy.deepcopy(network)
        changed.state_dict()[name].add_(1)
        assert Frozen(changed).digest() != first, name
