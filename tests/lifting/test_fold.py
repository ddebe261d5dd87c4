"""Folding moves no memory, and the fold is correct wherever layers run again."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import dimlift
from dimlift import DepthPlan
from dimlift.errors import ShapeError
from dimlift.lifting.activation_checkpointing import preserve_fold_in_checkpoints
from dimlift.lifting.fold import Fold, current_fold, fold, fold_context, split_depth, unfold


def small(checkpointed: bool = False) -> nn.Module:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 4, 3, padding=1)
            self.second = nn.Conv2d(4, 4, 3, padding=1, stride=2)
            self.grad_checkpointing = checkpointed

        def set_grad_checkpointing(self, enable: bool = True) -> None:
            self.grad_checkpointing = enable

        def forward(self, x):
            x = self.first(x).relu()
            if self.grad_checkpointing:
                x = torch.utils.checkpoint.checkpoint(self.second, x, use_reentrant=False)
            else:
                x = self.second(x)
            return [x]

    return Net().double()


def test_fold_and_unfold_are_views_in_channels_last():
    volume = torch.randn(2, 3, 5, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    slices = fold(volume)
    assert slices.shape == (10, 3, 4, 6)
    assert slices.data_ptr() == volume.data_ptr()
    assert slices.is_contiguous(memory_format=torch.channels_last)
    back = unfold(slices, 2)
    assert back.data_ptr() == volume.data_ptr()
    assert torch.equal(back, volume)
    grey = torch.randn(2, 1, 5, 4, 6)
    assert fold(grey).data_ptr() == grey.data_ptr()


def test_fold_keeps_slices_of_a_volume_together():
    volume = torch.arange(2 * 3).view(2, 1, 3, 1, 1).expand(2, 2, 3, 1, 1).float()
    assert fold(volume)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_split_depth_separates_extra_axis():
    x = torch.arange(2 * 3 * 4).view(24, 1)
    with fold_context(Fold(2, 3, 6)):
        view = split_depth(x)
        assert view.shape == (2, 3, 4, 1)
        assert view[1, 2, 3].item() == 23
        with pytest.raises(ShapeError, match="leading size 7 cannot hold 2 volumes of 3 slices"):
            split_depth(torch.zeros(7, 1))


def test_layer_outside_forward_raises():
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    with pytest.raises(ShapeError, match="outside its lifted network's forward"):
        lifted.network.first(torch.zeros(6, 1, 4, 4, dtype=torch.float64))
    with pytest.raises(ShapeError):
        current_fold()


@pytest.mark.parametrize("shape", [(2, 1, 3, 6, 6), (3, 1, 2, 6, 6), (1, 1, 6, 6, 6)])
def test_inflated_conv_equals_conv3d_with_replicate_padding(shape):
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    for parameter in lifted.parameters():  # taps differ from one another
        parameter.data = torch.randn_like(parameter)
    volume = torch.randn(shape, dtype=torch.float64)

    def conv(x, layer, stride):
        padded = F.pad(F.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate"), (1, 1, 1, 1))
        return F.conv3d(padded, layer.weight, layer.bias, (1, stride, stride))

    net = lifted.network
    torch.testing.assert_close(lifted(volume)[0], conv(conv(volume, net.first, 1).relu(), net.second, 2))


def gradients(lifted, *volumes):
    lifted.zero_grad()
    outputs = [lifted(volume)[0].square().sum() for volume in volumes]  # all forwards before the first backward
    for output in reversed(outputs):
        output.backward()
    return [p.grad.clone() for p in lifted.parameters()]


@pytest.mark.parametrize("entry", ["own", "outer"])
def test_checkpointing_keeps_gradients_of_two_folds_of_equal_size(entry):
    volumes = [torch.randn(shape, dtype=torch.float64) for shape in [(2, 1, 3, 6, 6), (3, 1, 2, 6, 6)]]
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    plain = gradients(lifted, *volumes)
    if entry == "own":
        lifted.set_grad_checkpointing()
        again = gradients(lifted, *volumes)
    else:
        again = gradients(checkpointed(lifted), *volumes)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b)


def checkpointed(lifted):
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lifted = lifted

        def forward(self, volume):
            return checkpoint(self.lifted, volume, use_reentrant=False)

    return Checkpointed()


def test_reentrant_checkpointing_keeps_fold():
    preserve_fold_in_checkpoints()
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    net = lifted.network
    volume = torch.randn(2, 1, 3, 6, 6, dtype=torch.float64)
    plain = gradients(lifted, volume)

    def forward(x):
        return [torch.utils.checkpoint.checkpoint(net.second, net.first(x).relu(), use_reentrant=True)]

    net.forward = forward
    for a, b in zip(plain, gradients(lifted, volume), strict=True):
        torch.testing.assert_close(a, b)


def test_threads_have_separate_folds():
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    volumes = [torch.randn(1, 1, depth, 6, 6, dtype=torch.float64) for depth in (2, 3, 4, 6)]
    with torch.no_grad():
        alone = [lifted(v)[0] for v in volumes]
    together: list = [None] * len(volumes)
    barrier = threading.Barrier(len(volumes), timeout=30)
    # every forward starts before any reaches its second layer

    def meet(module, inputs, out):
        barrier.wait()

    lifted.network.first.register_forward_hook(meet)

    def run(i):
        with torch.no_grad():
            together[i] = lifted(volumes[i])[0]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(volumes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b)


def test_lifted_network_compiles_to_one_graph():
    lifted = dimlift.lift(small(), DepthPlan(inflation="average"))
    compiled = torch.compile(lifted, backend="eager", fullgraph=True)
    for shape in [(2, 1, 3, 6, 6), (3, 1, 2, 6, 6)]:
        volume = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(compiled(volume)[0], lifted(volume)[0])


def test_wrong_volume_shape_raises():
    lifted = dimlift.lift(small())
    with pytest.raises(ShapeError, match=r"\(batch, channel, depth, height, width\), got \(1, 6, 6\)"):
        lifted(torch.zeros(1, 6, 6))
    with pytest.raises(ShapeError, match="lift it with in_chans=2"):
        lifted(torch.zeros(1, 2, 3, 6, 6))
    with pytest.raises(ShapeError, match="no voxels"):
        lifted(torch.zeros(1, 1, 0, 6, 6))
